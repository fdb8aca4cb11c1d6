// Yields one outcome per input, in the order in which they settle, and prints the progress of each run.
import { withGrid } from '../grid.mjs';

await withGrid(new URL('task', import.meta.url), async (master) => {
  master.on('progress', ({ progress }) => console.log(progress.kind, progress.value ?? progress.line));
  for await (const { index, state, output } of master.map([{ n: 21 }])) console.log(index, state, output);
});
