// A source in under a hundred lines: jobs are files in a folder. docs/sources/writing-one.md explains it step by step.
//
//   inbox/NAME.json    the data of a job that waits            working/NAME.json  … that runs
//   done/NAME.json     the output                              failed/NAME.json   the error
//
// A claim is a rename: of several Workers on one folder, one gets the file.
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 500;

/** @returns {import('peerwork').SourceSetup} */
export function folderSource({ folder, task, name = 'folder' }) {
  return {
    name,
    async open(context) {
      for (const state of ['inbox', 'working', 'done', 'failed']) await mkdir(join(folder, state), { recursive: true });
      const code = await context.localTask('default', task);
      return new FolderSource(name, folder, code);
    },
  };
}

class FolderSource {
  #folder;
  #code;
  #closed = new AbortController();
  #settling = new Set();

  constructor(name, folder, code) {
    this.name = name;
    this.#folder = folder;
    this.#code = code;
  }

  async claim(capacity, signal) {
    // A source is closed when its last claim has ended: there is no need to listen to both.
    while (!signal.aborted && !this.#closed.signal.aborted) {
      const leases = [];
      // A folder that is away for a while (a network drive) is no reason to end: it is looked at again.
      for (const file of await readdir(join(this.#folder, 'inbox')).catch(() => [])) {
        if (leases.length === capacity || signal.aborted) break;
        if (!file.endsWith('.json') || !(await this.#move(file, 'inbox', 'working'))) continue;
        leases.push(await this.#lease(file));
      }
      if (leases.length > 0) return leases;
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
    return [];
  }

  async #lease(file) {
    const text = await readFile(join(this.#folder, 'working', file), 'utf8');
    const data = parse(text);
    const job = { id: file.slice(0, -'.json'.length), channel: 'default', data, attempt: 1, timeoutMs: 0 };
    const settle = (outcome) => {
      const settled = this.#settle(file, outcome).finally(() => this.#settling.delete(settled));
      this.#settling.add(settled);
      return settled;
    };
    return { job, ...this.#code.lease(), signal: this.#closed.signal, report: () => {}, settle };
  }

  async #settle(file, outcome) {
    if (outcome.state === 'released') return void (await this.#move(file, 'working', 'inbox'));
    const [state, value] = outcome.state === 'completed' ? ['done', outcome.output] : ['failed', outcome.error];
    // Whoever looks finds it whole, or not at all.
    await writeFile(join(this.#folder, state, `${file}.tmp`), `${JSON.stringify(value)}\n`);
    await this.#move(`${file}.tmp`, state, state, file);
    await rm(join(this.#folder, 'working', file));
  }

  #move(file, from, to, name = file) {
    const move = rename(join(this.#folder, from, file), join(this.#folder, to, name));
    return move.then(
      () => true,
      () => false, // another Worker was quicker
    );
  }

  async flush() {
    await Promise.all(this.#settling);
  }

  async close() {
    this.#closed.abort();
    await this.flush();
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
