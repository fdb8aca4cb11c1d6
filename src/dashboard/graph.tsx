import { useMemo, useRef, useState } from 'preact/hooks';
import type { GroupGraph, JobState } from '../ledger/records.js';
import { layered, NODE_HEIGHT, NODE_WIDTH } from './layout.js';

interface View {
  readonly x: number;
  readonly y: number;
  readonly scale: number;
}

const MAX_LABEL = 18;

/** The jobs of a group as a graph that can be panned and zoomed; Tab focuses it, arrow keys move between nodes, Enter opens one. */
export function Graph({
  graph,
  stateOf,
  onChoose,
}: {
  graph: GroupGraph;
  stateOf: (id: string, known: JobState) => JobState;
  onChoose: (id: string) => void;
}) {
  const { nodes, edges } = graph;
  const layout = useMemo(() => layered(nodes.length, edges), [nodes.length, edges]);
  const lines = useMemo(() => edges.map((edge) => lineOf(layout.places, edge)).join(''), [layout, edges]);
  const [view, setView] = useState<View>({ x: 0, y: 0, scale: 1 });
  const [active, setActive] = useState(0);
  const dragging = useRef<{ readonly x: number; readonly y: number; readonly from: View } | undefined>(undefined);
  const width = Math.max(320, layout.width + 40);
  const height = Math.max(160, layout.height + 40);
  const zoom = (factor: number) => setView((now) => ({ ...now, scale: Math.max(0.1, Math.min(4, now.scale * factor)) }));
  const onKeyDown = (event: KeyboardEvent) => {
    const next = neighbour(layout.places, edges, active, event.key);
    if (next !== undefined) setActive(next);
    else if (event.key === 'Enter' && nodes[active] !== undefined) onChoose(nodes[active].id);
    else if (event.key === '+') zoom(1.25);
    else if (event.key === '-') zoom(0.8);
    else return;
    event.preventDefault();
  };
  const chosen = nodes[active];
  return (
    <div class="graph">
      <p class="hint">
        <button onClick={() => zoom(1.25)}>Larger</button> <button onClick={() => zoom(0.8)}>Smaller</button>{' '}
        <button onClick={() => setView({ x: 0, y: 0, scale: 1 })}>Fit</button> {nodes.length} jobs
        {graph.truncated ? ', the first of many' : ''}
      </p>
      <svg
        viewBox={`-20 -20 ${width} ${height}`}
        tabindex={0}
        role="application"
        aria-label={`Graph of ${nodes.length} jobs. ${chosen === undefined ? '' : `${chosen.name ?? chosen.id}: ${stateOf(chosen.id, chosen.state)}`}`}
        onKeyDown={onKeyDown}
        onWheel={(event) => {
          if (!event.ctrlKey && !event.metaKey) return;
          event.preventDefault();
          zoom(event.deltaY < 0 ? 1.15 : 0.87);
        }}
        onPointerDown={(event) => {
          dragging.current = { x: event.clientX, y: event.clientY, from: view };
        }}
        onPointerMove={(event) => {
          const drag = dragging.current;
          if (drag === undefined || event.buttons === 0) return;
          const unit = width / (event.currentTarget as SVGElement).clientWidth;
          setView({ ...drag.from, x: drag.from.x + (event.clientX - drag.x) * unit, y: drag.from.y + (event.clientY - drag.y) * unit });
        }}
      >
        <g transform={`translate(${view.x} ${view.y}) scale(${view.scale})`}>
          <path class="edges" d={lines} />
          {nodes.map(({ id, name, state }, index) => {
            const { x, y } = layout.places[index] ?? { x: 0, y: 0 };
            const now = stateOf(id, state);
            const label = name ?? id;
            return (
              <g
                key={id}
                class={`node ${now}${index === active ? ' active' : ''}`}
                transform={`translate(${x} ${y})`}
                onClick={() => onChoose(id)}
              >
                <title>{`${label}: ${now}`}</title>
                <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx="5" />
                <text x="10" y="17">
                  {label.length > MAX_LABEL ? `${label.slice(0, MAX_LABEL - 1)}…` : label}
                </text>
              </g>
            );
          })}
        </g>
      </svg>
    </div>
  );
}

function lineOf(places: readonly { readonly x: number; readonly y: number }[], [parent, child]: readonly [number, number]): string {
  const from = places[parent];
  const to = places[child];
  if (from === undefined || to === undefined) return '';
  const x1 = from.x + NODE_WIDTH;
  const y1 = from.y + NODE_HEIGHT / 2;
  const y2 = to.y + NODE_HEIGHT / 2;
  const middle = (x1 + to.x) / 2;
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${to.x} ${y2}`;
}

/** Left and right follow edges; up and down go to the nearest node of the same layer. */
function neighbour(
  places: readonly { readonly x: number; readonly y: number }[],
  edges: readonly (readonly [number, number])[],
  at: number,
  key: string,
): number | undefined {
  if (key === 'ArrowRight') return edges.find(([parent]) => parent === at)?.[1];
  if (key === 'ArrowLeft') return edges.find(([, child]) => child === at)?.[0];
  const here = places[at];
  if (here === undefined || (key !== 'ArrowUp' && key !== 'ArrowDown')) return undefined;
  let best: number | undefined;
  for (const [index, place] of places.entries()) {
    const distance = key === 'ArrowDown' ? place.y - here.y : here.y - place.y;
    if (place.x !== here.x || distance <= 0) continue;
    if (best === undefined || Math.abs((places[best]?.y ?? 0) - here.y) > distance) best = index;
  }
  return best;
}
