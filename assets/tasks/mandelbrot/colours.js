const stops = [
  [0, 7, 100],
  [32, 107, 203],
  [237, 255, 255],
  [255, 170, 0],
  [90, 20, 30],
];
const STEPS_PER_STOP = 24;

/** Red, green, blue of an escape time; black inside the set. */
export function colourOf(time, limit) {
  if (time >= limit) return [0, 0, 0];
  const at = time / STEPS_PER_STOP;
  const from = stops[Math.floor(at) % stops.length];
  const to = stops[(Math.floor(at) + 1) % stops.length];
  const share = at - Math.floor(at);
  return from.map((value, index) => Math.round(value + (to[index] - value) * share));
}
