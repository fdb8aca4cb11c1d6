/** Ctrl-C and `kill`: the first asks to end in order, the second to end at once. */
export interface StopSignals {
  /** Resolves with the first signal's name. */
  readonly first: Promise<NodeJS.Signals>;
  readonly second: Promise<NodeJS.Signals>;
  /** Gives the signals back to their usual meaning. */
  release(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** The exit code of a shell for a program that a signal ended. */
export const EXIT_OF_SIGNAL = { SIGINT: 130, SIGTERM: 143 } as const satisfies Record<(typeof SIGNALS)[number], number>;

export function exitOfSignal(signal: NodeJS.Signals): number {
  return signal === 'SIGTERM' ? EXIT_OF_SIGNAL.SIGTERM : EXIT_OF_SIGNAL.SIGINT;
}

/** A terminal sends Ctrl-C to the whole group, and npm passes it on once more: a second one so soon is the same one. */
const SAME_PRESS_MS = 50;

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

/** Runs until its end or the first signal, which aborts it; resolves with the exit code. */
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
