import { PNG } from 'pngjs';
import { colourOf } from './colours.js';

/** One tile: { x, y, width, height, picture, view } → { x, y, width, height, png: base64 } */
export default async function renderTile(tile, context) {
  const { x, y, width, height, picture, view } = tile;
  const png = new PNG({ width, height, colorType: 2 });
  const step = view.span / picture.width;
  for (let row = 0; row < height; row += 1) {
    const im = view.im - (y + row - picture.height / 2) * step;
    for (let column = 0; column < width; column += 1) {
      const re = view.re + (x + column - picture.width / 2) * step;
      const colour = colourOf(escapeTime(re, im, view.limit), view.limit);
      png.data.set(colour, (row * width + column) * 4);
      png.data[(row * width + column) * 4 + 3] = 255;
    }
    if (row % 32 === 31) {
      context.progress((row + 1) / height);
      // Lets the process hear of a cancelled job.
      await new Promise(setImmediate);
      context.signal.throwIfAborted();
    }
  }
  return { x, y, width, height, png: PNG.sync.write(png, { colorType: 2 }).toString('base64') };
}

/** How many steps z → z² + c takes to leave the circle of radius 16, smoothed between whole numbers; `limit` if it stays. */
function escapeTime(re, im, limit) {
  let a = 0;
  let b = 0;
  let aa = 0;
  let bb = 0;
  for (let step = 0; step < limit; step += 1) {
    b = 2 * a * b + im;
    a = aa - bb + re;
    aa = a * a;
    bb = b * b;
    if (aa + bb > 256) return Math.max(0, step + 2 - Math.log2(Math.log2(aa + bb) / 2));
  }
  return limit;
}
