// A source in under a hundred lines: jobs are files in a folder. docs/sources/writing-one.md explains it step by step.
//
//   inbox/NAME.json    data of a waiting job            working/NAME.json  data of a running job
//   done/NAME.json     output of a completed job        failed/NAME.json   error of a failed job
//
// A claim is a rename: of several Workers on one folder, only one gets the file.
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeldLease, LeasedSource, OutcomeSender } from 'peerwork';

const POLL_MS = 500;

/** @returns {import('peerwork').SourceSetup} */
export function folderSource({ folder, task, name = 'folder' }) {
  return {
    name,
    async open(context) {
      for (const state of ['inbox', 'working', 'done', 'failed']) await mkdir(join(folder, state), { recursive: true });
      const code = await context.localTask('default', task);
      return new FolderSource(name, folder, code, await context.openOutbox(), context);
    },
  };
}

class FolderSource extends LeasedSource {
  #folder;
  #code;
  #outbox;
  #sender;

  constructor(name, folder, code, outbox, { clock, log }) {
    super(name, clock);
    this.#folder = folder;
    this.#code = code;
    this.#outbox = outbox;
    // The folder may be temporarily unavailable (a network drive): outcomes wait in the outbox until it is back.
    this.#sender = new OutcomeSender({
      ...{ outbox, clock, firstMs: POLL_MS, capMs: 10_000 },
      send: ({ id, outcome }) => this.#send(`${id}.json`, outcome),
      onFault: ({ id }, error) => log.debug('an outcome could not be written', { job: id, error }),
    });
    this.#sender.sendAll();
  }

  async take(capacity, signal) {
    const leases = [];
    for (const file of await readdir(join(this.#folder, 'inbox')).catch(() => [])) {
      if (leases.length === capacity || signal.aborted) break;
      if (!file.endsWith('.json') || !(await this.#move(file, 'inbox', 'working'))) continue;
      leases.push(await this.#lease(file));
    }
    return leases;
  }

  idleMs() {
    return POLL_MS;
  }

  async #lease(file) {
    const text = await readFile(join(this.#folder, 'working', file), 'utf8');
    const data = await Promise.resolve(text)
      .then((each) => JSON.parse(each))
      .catch(() => text);
    const job = { id: file.slice(0, -'.json'.length), channel: 'default', data, attempt: 1, timeoutMs: 0 };
    const startedAt = this.clock.now();
    return new HeldLease({ job, ...this.#code.lease(), startedAt }, (outcome) =>
      this.#sender.deliver({ id: job.id, lease: startedAt, outcome, startedAt, finishedAt: this.clock.now() }),
    );
  }

  async #send(file, outcome) {
    const working = join(this.#folder, 'working');
    await access(working);
    if (outcome.state === 'released') return (await this.#move(file, 'working', 'inbox')) ? 'accepted' : 'stale';
    const [state, value] = outcome.state === 'completed' ? ['done', outcome.output] : ['failed', outcome.error];
    // A rename is atomic: readers see the complete file or none.
    await writeFile(join(this.#folder, state, `${file}.tmp`), `${JSON.stringify(value)}\n`);
    await rename(join(this.#folder, state, `${file}.tmp`), join(this.#folder, state, file));
    await rm(join(working, file), { force: true });
    return 'accepted';
  }

  #move(file, from, to) {
    const move = rename(join(this.#folder, from, file), join(this.#folder, to, file));
    return move.then(
      () => true,
      () => false, // Another Worker was faster.
    );
  }

  flush(signal) {
    return this.#sender.flush(signal);
  }

  async end() {
    await this.#sender.close(1_000);
    await this.#outbox.close();
  }
}
