import type { Json } from '../../../job/job.js';

const MIN_SECRET_CHARS = 6;
const HIDDEN = '***';
/** Fields of credentials that identify a place or person but grant no access. */
const plain =
  /^(?:user(?:_?name)?|email|host(?:_?url)?|base_?url|instance_?url|login_?url|url|port|api_?version|database|db_?name|authority|realm|label)$/i;

/** Redacts the secrets of a run's credentials from everything that is reported about the run. */
export class Scrubber {
  /** Longest first, so that a secret contained in another leaves no remainder of it. */
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
    // Its form inside JSON that was logged as text.
    found.add(JSON.stringify(secret).slice(1, -1));
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, each] of Object.entries(value)) if (typeof each === 'object' || !plain.test(name)) collect(each, found);
  }
}
