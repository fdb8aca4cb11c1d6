/** A weight as stored: the integer part, and the fraction in millionths. */
export interface WeightColumns {
  readonly weight: number;
  readonly weight_part: number;
}

const PARTS = 1_000_000;

/** Splits a weight into its columns. Exact for all weights that `isWeight` accepts. */
export function weightColumns(weight: number): WeightColumns {
  const integer = Math.floor(weight);
  return { weight: integer, weight_part: Math.round((weight - integer) * PARTS) };
}

export function weightOf({ weight, weight_part }: WeightColumns): number {
  return weight_part === 0 ? weight : (weight * PARTS + weight_part) / PARTS;
}
