/** What V8 writes before it ends a process whose heap is full, whatever the exit code is then: 134, and 139 for the first process of a container. */
const HEAP_FULL = /heap out of memory|process out of memory|Reached heap limit/i;
/** A frame of a stack, native (`12: 0x195e476 [node]`) or not (`at f (file:1:2)`), and the headings around them. */
const FRAME = /^\s*(?:\d+: (?:0x)?[0-9a-f]{6,}\b|at (?:.*\(.*:\d+:\d+\)$|\S+:\d+:\d+$)|-{3,} .* -{3,}$|<--- .* --->$)/i;

export function tellsHeapFull(line: string): boolean {
  return HEAP_FULL.test(line);
}

/** Whether a line of a dying process tells nobody why it died. */
export function isStackFrame(line: string): boolean {
  return FRAME.test(line);
}
