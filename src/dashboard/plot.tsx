import { useState } from 'preact/hooks';

/** One line of a chart; null values are gaps. */
export interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
  readonly dashed?: boolean;
}

const WIDTH = 640;
const HEIGHT = 160;
const LEFT = 48;
const BOTTOM = 20;

/** Line chart over time, with the values under the pointer in words. */
export function Plot({
  title,
  at,
  lines,
  unit,
}: {
  title: string;
  at: readonly number[];
  lines: readonly Line[];
  unit: (value: number) => string;
}) {
  const [index, setIndex] = useState<number | undefined>();
  const max = niceAbove(Math.max(0, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0))));
  const x = (place: number) => LEFT + (place / Math.max(1, at.length - 1)) * (WIDTH - LEFT - 8);
  const y = (value: number) => HEIGHT - BOTTOM - (value / max) * (HEIGHT - BOTTOM - 10);
  const shown = index === undefined ? at.length - 1 : index;
  const onMove = (event: PointerEvent) => {
    const box = (event.currentTarget as SVGElement).getBoundingClientRect();
    const place = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - 8);
    setIndex(Math.max(0, Math.min(at.length - 1, Math.round(place * (at.length - 1)))));
  };
  const words = lines.map(({ name, values }) => `${name} ${values[shown] == null ? '–' : unit(values[shown] ?? 0)}`).join(' · ');
  return (
    <figure class="plot">
      <figcaption>
        <strong>{title}</strong> <span>{words}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`${title}: ${words}`}
        onPointerMove={onMove}
        onPointerLeave={() => setIndex(undefined)}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share} class="grid">
            <line x1={LEFT} x2={WIDTH - 8} y1={y(max * share)} y2={y(max * share)} />
            <text x={LEFT - 6} y={y(max * share) + 4} text-anchor="end">
              {unit(max * share)}
            </text>
          </g>
        ))}
        {[0, 0.5, 1].map((share) => {
          const instant = at[Math.round((at.length - 1) * share)];
          return (
            <text
              key={share}
              class="tick"
              x={x((at.length - 1) * share)}
              y={HEIGHT - 4}
              text-anchor={share === 0 ? 'start' : share === 1 ? 'end' : 'middle'}
            >
              {instant === undefined ? '' : new Date(instant).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false })}
            </text>
          );
        })}
        {lines.map(({ name, values, dashed }, place) => (
          <path key={name} class={`line line-${place}${dashed === true ? ' dashed' : ''}`} d={pathOf(values, x, y)} />
        ))}
        {index !== undefined && <line class="cursor" x1={x(index)} x2={x(index)} y1={8} y2={HEIGHT - BOTTOM} />}
      </svg>
    </figure>
  );
}

/** Leaves a gap where values are missing. */
function pathOf(values: readonly (number | null)[], x: (place: number) => number, y: (value: number) => number): string {
  let path = '';
  let open = false;
  for (const [place, value] of values.entries()) {
    // An isolated point becomes a line of zero length.
    if (value !== null) path += `${open ? 'L' : 'M'}${x(place).toFixed(1)} ${y(value).toFixed(1)}${open ? '' : 'h0'}`;
    open = value !== null;
  }
  return path;
}

function niceAbove(value: number): number {
  if (value <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * step).find((nice) => nice >= value) ?? value;
}
