import type { Clock, Timer } from '../clock.js';
import type { CommandLine } from './command-line.js';
import type { Container } from './container.js';

/** Ended containers wait this long to be removed together: a process of the engine's command line costs as much as a short job. */
const BATCH_MS = 500;

/** Removes ended containers in batches. */
export class Removal {
  readonly #command: CommandLine;
  readonly #clock: Clock;
  #batch: Container[] = [];
  #done: (() => void)[] = [];
  #timer: Timer | undefined;

  constructor(command: CommandLine, clock: Clock) {
    this.#command = command;
    this.#clock = clock;
  }

  /** Resolves when the container is gone. */
  add(container: Container): Promise<void> {
    this.#batch.push(container);
    this.#timer ??= this.#clock.after(BATCH_MS, () => this.flush());
    return new Promise((resolve) => this.#done.push(resolve));
  }

  /** Removes the batch now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const [containers, done] = [this.#batch, this.#done];
    this.#batch = [];
    this.#done = [];
    if (containers.length === 0) return;
    void this.#command.try(['rm', '-f', '-v', ...containers.map(({ name }) => name)]).then(() => {
      for (const resolve of done) resolve();
    });
  }
}
