import { PeerworkError } from '../../errors.js';

/** Some of the server's queues, in the order in which they are asked, and how many of their runs may go on at once. */
export interface Workloop {
  readonly queues: readonly string[];
  readonly capacity: number;
}

/** OpenFn's notation: groups separated by blanks, each `queue>queue>*:capacity`; `*`, any other queue, only at the end. Throws `openfn-invalid`. */
export function readWorkloops(text: string): readonly Workloop[] {
  const groups = text.trim().split(/\s+/);
  return groups.map((group) => {
    const [, names = '', capacity = ''] = /^((?:\w+>)*(?:\w+|\*)):([1-9]\d{0,5})$/.exec(group) ?? [];
    if (capacity === '') throw new PeerworkError('openfn-invalid', `${JSON.stringify(group)} is no workloop such as manual>*:5`);
    return { queues: names.split('>'), capacity: Number(capacity) };
  });
}
