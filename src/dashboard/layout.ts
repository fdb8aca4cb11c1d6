/** A layered graph layout: each node is right of all its parents, and near them. */

/** Upper left corner of a node, in pixels. */
export interface Placed {
  readonly x: number;
  readonly y: number;
}

export interface Layout {
  readonly places: readonly Placed[];
  readonly width: number;
  readonly height: number;
}

export const NODE_WIDTH = 132;
export const NODE_HEIGHT = 26;
const GAP_X = 60;
const GAP_Y = 12;
const SWEEPS = 6;

/** Computes the layout. `edges` are pairs of parent and child indexes, without cycles. Runs in linear time. */
export function layered(count: number, edges: readonly (readonly [number, number])[]): Layout {
  const parents: number[][] = Array.from({ length: count }, () => []);
  const children: number[][] = Array.from({ length: count }, () => []);
  for (const [parent, child] of edges) {
    parents[child]?.push(parent);
    children[parent]?.push(child);
  }
  const layerOf = longestPaths(count, parents, children);
  const layers: number[][] = [];
  for (const [node, layer] of layerOf.entries()) {
    layers[layer] ??= [];
    layers[layer].push(node);
  }
  order(layers, parents, children, count);
  const places: Placed[] = [];
  const tallest = Math.max(1, ...layers.map(({ length }) => length));
  const height = tallest * (NODE_HEIGHT + GAP_Y) - GAP_Y;
  for (const [layer, nodes] of layers.entries()) {
    const space = height / nodes.length;
    for (const [place, node] of nodes.entries())
      places[node] = { x: layer * (NODE_WIDTH + GAP_X), y: space * (place + 0.5) - NODE_HEIGHT / 2 };
  }
  return { places, width: layers.length * (NODE_WIDTH + GAP_X) - GAP_X, height };
}

function longestPaths(count: number, parents: readonly number[][], children: readonly number[][]): number[] {
  const layers = new Array<number>(count).fill(0);
  const waits = parents.map(({ length }) => length);
  const free = [...waits.keys()].filter((node) => waits[node] === 0);
  for (let node = free.pop(); node !== undefined; node = free.pop())
    for (const child of children[node] ?? []) {
      layers[child] = Math.max(layers[child] ?? 0, (layers[node] ?? 0) + 1);
      waits[child] = (waits[child] ?? 0) - 1;
      if (waits[child] === 0) free.push(child);
    }
  return layers;
}

/** Sorts each layer by the mean position of its neighbours, alternating forwards and backwards: few crossings, though not the minimum. */
function order(layers: number[][], parents: readonly number[][], children: readonly number[][], count: number): void {
  const place = new Array<number>(count).fill(0);
  const note = (layer: readonly number[]) => {
    for (const [at, node] of layer.entries()) place[node] = (at + 0.5) / layer.length;
  };
  layers.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forwards = sweep % 2 === 0;
    const neighbours = forwards ? parents : children;
    for (const layer of forwards ? layers : layers.toReversed()) {
      const mean = new Map(
        layer.map((node) => {
          const near = neighbours[node] ?? [];
          return [node, near.length === 0 ? (place[node] ?? 0) : near.reduce((sum, one) => sum + (place[one] ?? 0), 0) / near.length];
        }),
      );
      layer.sort((a, b) => (mean.get(a) ?? 0) - (mean.get(b) ?? 0));
      note(layer);
    }
  }
}
