import { appendFile, rename } from 'node:fs/promises';
import { stripVTControlCharacters } from 'node:util';
import type { Clock, Timer } from '../clock.js';
import { writeWhole } from '../kit/whole-file.js';
import { redact } from '../log.js';

/** Facts about one run of a job, in `<name>.json` next to its lines in `<name>.log` and, for older ones, `<name>.log.1`. */
export interface RunLogFacts {
  /** The job's id. */
  readonly run: string;
  /** Kind of the runner: `container` or `crawl`. */
  readonly kind: string;
  readonly channel: string;
  readonly attempt: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Absent while it is running. */
  readonly endedAt?: number | undefined;
  /** `completed`, `released`, `interrupted` (its Worker was killed), or the message of the error. */
  readonly ended?: string | undefined;
}

export interface RunLogPlace {
  /** Path without a file extension. */
  readonly path: string;
  /** Limit of its two files together. */
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

const FLUSH_MS = 100;
/** Limit for a slow disk; further lines are dropped and counted. */
const MAX_WAITING_CHARS = 4 * 1024 * 1024;
const SECRET_NAME = /key|token|secret|passw|pwd|credential|auth/i;
const MIN_SECRET_CHARS = 6;
const REDACTED = '[secret]';

/**
 * The lines of one run, on this machine's disk, readable by its owner only. Never fails: a write error is reported once, and the run goes
 * on.
 */
export class RunLog {
  readonly #place: RunLogPlace;
  readonly #secrets = new Set<string>();
  #facts: RunLogFacts;
  #waiting: string[] = [];
  #waitingChars = 0;
  #dropped = 0;
  #bytes = 0;
  #timer: Timer | undefined;
  #writing: Promise<void>;
  #broken = false;

  constructor(place: RunLogPlace, facts: RunLogFacts) {
    this.#place = place;
    this.#facts = facts;
    this.#writing = this.#write(() => this.#writeFacts());
  }

  /** Registers what must be redacted from a container's output: variables that are secrets by their names, and passwords in addresses. */
  learn(env: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(env)) {
      const [, password = ''] = /^[a-z+]+:\/\/[^@/]*?:([^@/]*)@/i.exec(value) ?? [];
      for (const secret of [SECRET_NAME.test(name) ? value : '', password])
        if (secret.length >= MIN_SECRET_CHARS) this.#secrets.add(secret);
    }
  }

  line(stream: string, text: string): void {
    if (this.#waitingChars > MAX_WAITING_CHARS) {
      this.#dropped += 1;
      return;
    }
    // Without colours and anything else that a terminal would interpret.
    let clean = stripVTControlCharacters(redact(text)).replace(/[^\P{Cc}\t]/gu, '');
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, REDACTED);
    const line = `${new Date(this.#place.clock.wall()).toISOString()} ${stream.padEnd(6)} ${clean}\n`;
    this.#waiting.push(line);
    this.#waitingChars += line.length;
    this.#timer ??= this.#place.clock.after(FLUSH_MS, () => this.#flush(), { unref: true });
  }

  /** Resolves when everything is on disk. Never rejects. */
  end(how: string): Promise<void> {
    let clean = redact(how);
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, REDACTED);
    this.#facts = { ...this.#facts, endedAt: this.#place.clock.wall(), ended: clean };
    this.#flush();
    this.#writing = this.#write(() => this.#writeFacts());
    return this.#writing;
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#waiting.length === 0) return;
    this.#writing = this.#write(async () => {
      const { path, maxBytes } = this.#place;
      const lines = this.#waiting;
      if (this.#dropped > 0) lines.push(`(${this.#dropped} lines were not kept: the disk is too slow)\n`);
      [this.#waiting, this.#waitingChars, this.#dropped] = [[], 0, 0];
      for (let at = 0; at < lines.length; ) {
        let part = '';
        // At least one line, however long it is.
        do part += lines[at++];
        while (at < lines.length && this.#bytes + Buffer.byteLength(part) + Buffer.byteLength(lines[at] ?? '') <= maxBytes / 2);
        const bytes = Buffer.byteLength(part);
        if (this.#bytes > 0 && this.#bytes + bytes > maxBytes / 2) {
          await rename(`${path}.log`, `${path}.log.1`);
          this.#bytes = 0;
        }
        await appendFile(`${path}.log`, part, { mode: 0o600 });
        this.#bytes += bytes;
      }
    });
  }

  #writeFacts(): Promise<void> {
    return writeWhole(`${this.#place.path}.json`, JSON.stringify(this.#facts));
  }

  #write(what: () => Promise<void>): Promise<void> {
    return (this.#writing ?? Promise.resolve()).then(what).catch((error: unknown) => {
      if (!this.#broken) this.#place.onFault(error);
      this.#broken = true;
    });
  }
}
