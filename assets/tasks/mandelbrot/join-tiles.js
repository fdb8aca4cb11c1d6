/**
 * Makes one PNG of the tiles that came back. Runs where the results are gathered, so it needs nothing but Node: there the
 * task's dependencies are not installed. Reads 8-bit RGB, as the task writes it.
 */
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const BYTES = 3;

/** Outputs of the task, in any order → the bytes of a PNG. Throws if tiles are missing or do not fit. */
export function joinTiles(tiles) {
  const width = Math.max(...tiles.map(({ x, width }) => x + width));
  const height = Math.max(...tiles.map(({ y, height }) => y + height));
  const area = tiles.reduce((sum, tile) => sum + tile.width * tile.height, 0);
  if (area !== width * height) throw new Error(`tiles cover ${area} of ${width * height} points`);
  const stride = 1 + width * BYTES;
  const rows = Buffer.alloc(stride * height);
  for (const tile of tiles) {
    const points = readPoints(Buffer.from(tile.png, 'base64'), tile.width, tile.height);
    for (let row = 0; row < tile.height; row += 1) {
      const at = (tile.y + row) * stride + 1 + tile.x * BYTES;
      points.copy(rows, at, row * tile.width * BYTES, (row + 1) * tile.width * BYTES);
    }
  }
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8 + body.length);
  frame.writeUInt32BE(data.length, 0);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body), 4 + body.length);
  return frame;
}

/** The points of a PNG, three bytes each, row after row. */
export function readPoints(png, width, height) {
  if (!png.subarray(0, 8).equals(SIGNATURE)) throw new Error('not a PNG');
  const parts = [];
  for (let at = 8; at < png.length; ) {
    const size = png.readUInt32BE(at);
    const type = png.toString('latin1', at + 4, at + 8);
    const data = png.subarray(at + 8, at + 8 + size);
    if (type === 'IHDR' && (data.readUInt32BE(0) !== width || data.readUInt32BE(4) !== height || data[8] !== 8 || data[9] !== 2))
      throw new Error('not the size or kind of PNG that was expected');
    if (type === 'IDAT') parts.push(data);
    at += 12 + size;
  }
  return unfilter(inflateSync(Buffer.concat(parts)), width * BYTES, height);
}

/** Undoes the five filters of PNG (specification, clause 9). */
function unfilter(rows, stride, height) {
  const points = Buffer.alloc(stride * height);
  for (let row = 0; row < height; row += 1) {
    const filter = rows[row * (stride + 1)];
    for (let i = 0; i < stride; i += 1) {
      const raw = rows[row * (stride + 1) + 1 + i];
      const left = i < BYTES ? 0 : points[row * stride + i - BYTES];
      const up = row === 0 ? 0 : points[(row - 1) * stride + i];
      const corner = i < BYTES || row === 0 ? 0 : points[(row - 1) * stride + i - BYTES];
      points[row * stride + i] = raw + predict(filter, left, up, corner);
    }
  }
  return points;
}

function predict(filter, left, up, corner) {
  switch (filter) {
    case 0:
      return 0;
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4: {
      const guess = left + up - corner;
      const [toLeft, toUp, toCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
      if (toLeft <= toUp && toLeft <= toCorner) return left;
      return toUp <= toCorner ? up : corner;
    }
    default:
      throw new Error(`unknown filter ${filter}`);
  }
}
