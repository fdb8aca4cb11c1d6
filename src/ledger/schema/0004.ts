/**
 * What tells a delay from an instant: `dated_at` is the `runAt` that was asked for. A `run_at` that equals it follows the clock when that is set; any
 * other is the end of a delay or a back-off, and keeps what is left of it.
 */
export const schema0004 = `
ALTER TABLE job ADD COLUMN dated_at INTEGER;
`;
