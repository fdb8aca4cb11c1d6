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
    const text = await this.#ledger.recall(NOTE);
    return text === undefined ? [] : (parseJson(text, LOCAL_JSON) as Operator[]);
  }

  async change<T>(edit: (operators: Operator[]) => T): Promise<T> {
    const operators = await this.list();
    const result = edit(operators);
    await this.#ledger.remember(NOTE, JSON.stringify(operators));
    this.onChange();
    return result;
  }
}
