import type { Json } from '../../../job/job.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import type { Ledger } from '../../../ledger/ledger.js';

/** Who runs the tasks of a channel by being called, instead of asking for them. */
export interface Operator {
  readonly _id: string;
  readonly channel: string;
  readonly url: string;
  readonly requestConfig: Json;
  readonly isPaused: boolean | null;
  readonly createdAt: string;
}

const NOTE = 'crew operators';

/** The operators, which the ledger keeps as one note: they are few. */
export class Operators {
  readonly #ledger: Ledger;
  /** Called when they were changed. */
  onChange: () => void = () => {};

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** The newest first. */
  async list(): Promise<Operator[]> {
    const text = await this.#ledger.recall(NOTE);
    return text === undefined ? [] : (parseJson(text, LOCAL_JSON) as Operator[]);
  }

  async change<T>(edit: (operators: Operator[]) => T): Promise<T> {
    const operators = await this.list();
    const answer = edit(operators);
    await this.#ledger.remember(NOTE, JSON.stringify(operators));
    this.onChange();
    return answer;
  }
}
