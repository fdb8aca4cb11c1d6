// One outcome per input, in the order they settle, and the progress of each run while it lasts.
import { withGrid } from '../grid.mjs';

await withGrid(new URL('task', import.meta.url), async (master) => {
  master.on('progress', ({ progress }) => console.log(progress.kind, progress.value ?? progress.line));
  for await (const { index, state, output } of master.map([{ n: 21 }])) console.log(index, state, output);
});
