/**
 * What the runner of a job and the source that gave it say to each other while it runs, for wires on which a run is more than data in
 * and output out. Both sides speak JSON of a shape that they have agreed on in a file of this folder (`openfn.ts`), so neither imports
 * the other. `Progress` stays what people see of a run; this is the run's own business.
 */
export interface Exchange {
  /** Rejects with an error whose message the run may show. */
  ask(question: unknown): Promise<unknown>;
  /** In order; never waits and never throws. */
  tell(event: unknown): void;
}
