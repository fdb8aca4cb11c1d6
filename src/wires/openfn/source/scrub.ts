import type { Json } from '../../../job/job.js';

const MIN_SECRET_CHARS = 6;
const HIDDEN = '***';
/** Members of credentials that say where and who, not how to get in. */
const plain =
  /^(?:user(?:_?name)?|email|host(?:_?url)?|base_?url|instance_?url|login_?url|url|port|api_?version|database|db_?name|authority|realm|label)$/i;

/** Takes the secrets of a run's credentials out of what is told about the run. */
export class Scrubber {
  /** Longest first, so that no part of one is left where another stands in it. */
  #secrets: readonly string[] = [];

  learn(credential: unknown): void {
    const found = new Set(this.#secrets);
    collect(credential, found);
    this.#secrets = [...found].sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    let clean = text;
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, HIDDEN);
    return clean;
  }

  json(value: Json): Json {
    if (this.#secrets.length === 0) return value;
    if (typeof value === 'string') return this.text(value);
    if (typeof value === 'number') return this.#secrets.includes(String(value)) ? HIDDEN : value;
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map((each: Json) => this.json(each));
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [this.text(name), this.json(each)]));
  }
}

function collect(value: unknown, found: Set<string>): void {
  if (typeof value === 'string' || typeof value === 'number') {
    const secret = String(value);
    if (secret.length < MIN_SECRET_CHARS) return;
    found.add(secret);
    // As it stands in JSON that was logged as text.
    found.add(JSON.stringify(secret).slice(1, -1));
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, each] of Object.entries(value)) if (typeof each === 'object' || !plain.test(name)) collect(each, found);
  }
}
