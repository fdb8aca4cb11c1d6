/** A weight as it is stored: the whole number, and what is beyond it in millionths. */
export interface WeightColumns {
  readonly weight: number;
  readonly weight_part: number;
}

const PARTS = 1_000_000;

/** Exact for the weights that `isWeight` takes. */
export function weightColumns(weight: number): WeightColumns {
  const whole = Math.floor(weight);
  return { weight: whole, weight_part: Math.round((weight - whole) * PARTS) };
}

export function weightOf({ weight, weight_part }: WeightColumns): number {
  return weight_part === 0 ? weight : (weight * PARTS + weight_part) / PARTS;
}
