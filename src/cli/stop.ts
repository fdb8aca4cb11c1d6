/** Ctrl-C and `kill`: the first one requests an orderly stop, the second one stops at once. */
export interface StopSignals {
  /** Resolves with the name of the first signal. */
  readonly first: Promise<NodeJS.Signals>;
  readonly second: Promise<NodeJS.Signals>;
  /** Restores the signals' usual meaning. */
  release(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** Exit codes that a shell uses for a program ended by a signal. */
export const EXIT_OF_SIGNAL = { SIGINT: 130, SIGTERM: 143 } as const satisfies Record<(typeof SIGNALS)[number], number>;

/** Returns the exit code for a signal. */
export function exitOfSignal(signal: NodeJS.Signals): number {
  return signal === 'SIGTERM' ? EXIT_OF_SIGNAL.SIGTERM : EXIT_OF_SIGNAL.SIGINT;
}

/** A terminal sends Ctrl-C to the whole process group, and npm forwards it as well: a second signal this soon is the same key press. */
const SAME_PRESS_MS = 50;

/** Catches SIGINT and SIGTERM until `release` is called. */
export function catchSignals(): StopSignals {
  let onFirst: (signal: NodeJS.Signals) => void = () => {};
  let onSecond: (signal: NodeJS.Signals) => void = () => {};
  let firstAt: number | undefined;
  const first = new Promise<NodeJS.Signals>((resolve) => {
    onFirst = resolve;
  });
  const second = new Promise<NodeJS.Signals>((resolve) => {
    onSecond = resolve;
  });
  const listen = (signal: NodeJS.Signals) => {
    if (firstAt === undefined) {
      firstAt = performance.now();
      onFirst(signal);
    } else if (performance.now() - firstAt > SAME_PRESS_MS) onSecond(signal);
  };
  for (const signal of SIGNALS) process.on(signal, listen);
  return {
    first,
    second,
    release: () => {
      for (const signal of SIGNALS) process.off(signal, listen);
    },
  };
}

/** Returns a controller that the first SIGINT or SIGTERM aborts; the next one ends the process. */
export function abortedBySignals(): AbortController {
  const ending = new AbortController();
  for (const signal of SIGNALS) process.once(signal, () => ending.abort());
  return ending;
}

/** Runs to completion or until the first signal, which aborts it; resolves with the exit code. */
export async function untilStopped(run: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const signals = catchSignals();
  const stopping = new AbortController();
  const stopped = signals.first.then((signal) => {
    stopping.abort();
    return exitOfSignal(signal);
  });
  try {
    return await Promise.race([run(stopping.signal), stopped]);
  } finally {
    signals.release();
  }
}
