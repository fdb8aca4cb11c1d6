/** Labels as one text, by which sets of the same labels are equal: sorted, each once, a line each (no label has a line break). */
export function labelSet(labels: readonly string[]): string {
  return [...new Set(labels)].sort().join('\n');
}

export function labelsOf(set: string): readonly string[] {
  return set === '' ? [] : set.split('\n');
}
