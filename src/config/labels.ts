/** Labels that a Worker finds out by itself: an owner who could write them might claim a wall that is not there. */
const RESERVED = /^\s*(?:os|arch|isolation)\s*=/i;

export function isReservedLabel(label: string): boolean {
  return RESERVED.test(label);
}
