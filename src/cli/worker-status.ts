import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { makeFolder } from '../kit/make-folder.js';
import { isAlive, type MarkedProcess, markProcess } from '../kit/process-mark.js';
import { removeTree } from '../kit/remove-tree.js';
import { writeWhole } from '../kit/whole-file.js';
import { redact } from '../log.js';
import { version } from '../version.js';
import type { Worker } from '../worker/worker.js';

const shape = v.object({
  pid: v.number(),
  mark: v.string(),
  name: v.string(),
  version: v.string(),
  startedAt: v.number(),
  /** When this was written: on a change, at most ten seconds after it. */
  at: v.number(),
  /** Absent while it is not connected, or has no Master. */
  master: v.optional(v.object({ name: v.string(), path: v.string() })),
  sources: v.array(v.string()),
  running: v.number(),
  concurrency: v.number(),
  completed: v.number(),
  failed: v.number(),
  released: v.number(),
  outbox: v.number(),
  isolation: v.string(),
  /** The last warning of each source; that of the Master is cleared once it is found. */
  warnings: v.array(v.object({ source: v.string(), code: v.string(), message: v.string(), at: v.number() })),
});

/** What `peerwork worker` writes about itself to `<home>/status/<pid>.json`, for `peerwork status` and `health`; contains no secrets. */
export type WorkerReport = v.InferOutput<typeof shape>;

/** Long, to spare SD cards; what matters most (Master found or lost, a warning) is written at once. */
const WRITE_MS = 10_000;

/** Maintains that file while the Worker lives. */
export class WorkerStatusFile {
  readonly #folder: string;
  readonly #worker: Worker;
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #self: MarkedProcess;
  readonly #warnings = new Map<string, WorkerReport['warnings'][number]>();
  #written = '';
  #writing: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #closed = false;

  constructor(home: string, worker: Worker, clock: Clock = systemClock) {
    this.#folder = join(home, 'status');
    this.#worker = worker;
    this.#clock = clock;
    this.#startedAt = clock.wall();
    this.#self = markProcess(process.pid) ?? { pid: process.pid, mark: '' };
    const change = () => this.#write();
    worker.on('connected', () => {
      this.#warnings.delete('master');
      change();
    });
    worker.on('disconnected', change);
    worker.on('warning', ({ code, message }, source) => {
      this.#warnings.set(source, { source, code, message: redact(message), at: this.#clock.wall() });
      change();
    });
    removeDead(this.#folder);
    this.#tick();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#writing;
    await removeTree(this.#file);
  }

  get #file(): string {
    return join(this.#folder, `${this.#self.pid}.json`);
  }

  #tick(): void {
    this.#write();
    this.#timer = this.#clock.after(WRITE_MS, () => this.#tick(), { unref: true });
  }

  #write(): void {
    if (this.#closed) return;
    const { name, master, sources, running, concurrency, completed, failed, released, outbox, isolation } = this.#worker.status();
    const report = {
      ...this.#self,
      name,
      version,
      startedAt: this.#startedAt,
      ...(master !== undefined && { master: { name: master.name, path: master.path } }),
      ...{ sources: [...sources], running, concurrency, completed, failed, released, outbox, isolation },
      warnings: [...this.#warnings.values()],
    };
    const text = JSON.stringify(report);
    if (text === this.#written) return;
    this.#written = text;
    const stamped: WorkerReport = { ...report, at: this.#clock.wall() };
    this.#writing = this.#writing.then(async () => {
      try {
        makeFolder(this.#folder);
        await writeWhole(this.#file, `${JSON.stringify(stamped)}\n`);
      } catch {
        // The disk is full, which the Worker itself reports where it matters.
        this.#written = '';
      }
    });
  }
}

/** Returns the status of each Worker that runs in this home. */
export function readWorkerStatuses(home: string): WorkerReport[] {
  return readFolder(join(home, 'status')).flatMap(({ report }) => (report !== undefined && isAlive(report) ? [report] : []));
}

/** Removes files of Workers that were killed. Done at once, because the next file may be ours, under a reused pid. */
function removeDead(folder: string): void {
  for (const { file, report } of readFolder(folder)) {
    if (report !== undefined && isAlive(report)) continue;
    try {
      rmSync(file, { force: true });
    } catch {
      // It stays, but its process is not alive, so it is ignored.
    }
  }
}

/** A file that cannot be parsed comes from another version. */
function readFolder(folder: string): { readonly file: string; readonly report: WorkerReport | undefined }[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return files.map((name) => {
    const file = join(folder, name);
    try {
      return { file, report: v.parse(shape, parseJson(readFileSync(file, 'utf8'), LOCAL_JSON)) };
    } catch {
      return { file, report: undefined };
    }
  });
}
