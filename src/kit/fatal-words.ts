/** What V8 prints before it aborts a process with a full heap, whatever the exit code: 134, or 139 for the first process of a container. */
const HEAP_FULL = /heap out of memory|process out of memory|Reached heap limit/i;
/** A stack frame, native (`12: 0x195e476 [node]`) or JavaScript (`at f (file:1:2)`), or one of the headings around them. */
const FRAME = /^\s*(?:\d+: (?:0x)?[0-9a-f]{6,}\b|at (?:.*\(.*:\d+:\d+\)$|\S+:\d+:\d+$)|-{3,} .* -{3,}$|<--- .* --->$)/i;

/** Whether a line printed by a dying process says that its heap is full. */
export function tellsHeapFull(line: string): boolean {
  return HEAP_FULL.test(line);
}

/** Whether a line printed by a dying process is only part of a stack dump and says nothing about the cause. */
export function isStackFrame(line: string): boolean {
  return FRAME.test(line);
}
