import type { Json } from '../../../job/job.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import type { Ledger } from '../../../ledger/ledger.js';

/** An HTTP endpoint that is called for the tasks of a channel, instead of polling for them. */
export interface Operator {
  readonly _id: string;
  readonly channel: string;
  readonly url: string;
  readonly requestConfig: Json;
  readonly isPaused: boolean | null;
  readonly createdAt: string;
}

const NOTE = 'crew operators';

/** The list of operators, which the ledger keeps as a single note because there are few. */
export class Operators {
  readonly #ledger: Ledger;
  /** Called after each change. */
  onChange: () => void = () => {};

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Newest first. */
  async list(): Promise<Operator[]> {
    return operatorsOf(await this.#ledger.recall(NOTE));
  }

  /** Edits the list. `edit` is called again if somebody else, possibly another Master, has changed the list in the meantime. */
  async change<T>(edit: (operators: Operator[]) => T): Promise<T> {
    for (;;) {
      const before = await this.#ledger.recall(NOTE);
      const operators = operatorsOf(before);
      const result = edit(operators);
      if (!(await this.#ledger.replace(NOTE, before, JSON.stringify(operators)))) continue;
      this.onChange();
      return result;
    }
  }
}

function operatorsOf(note: string | undefined): Operator[] {
  return note === undefined ? [] : (parseJson(note, LOCAL_JSON) as Operator[]);
}
