/**
 * The side of a benchmark's child process: it answers the verbs that the benchmark asks for over the process channel, and ends
 * when told to, or when the benchmark is gone.
 */

/** Each verb has arguments of its own; the benchmark asks with these types. */
export type Verbs = Readonly<Record<string, (args: never) => unknown>>;

export interface Question {
  readonly id: number;
  readonly verb: string;
  readonly args: unknown;
}

export interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

export const END = 'end';

/** Milliseconds on a clock that all processes of the machine share. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export interface Usage {
  readonly rssBytes: number;
  /** After a garbage collection, if the process was started with `--expose-gc`. */
  readonly heapBytes: number;
  /** User and system, since the process began. */
  readonly cpuMs: number;
  readonly atMs: number;
}

export function usage(): Usage {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return { rssBytes: rss, heapBytes: heapUsed, cpuMs: (user + system) / 1_000, atMs: sharedNow() };
}

/** `end` has a few seconds before the process is killed. */
export function serve(verbs: Verbs, end: () => Promise<unknown> = async () => {}): void {
  let ending = false;
  const leave = async () => {
    if (ending) return;
    ending = true;
    await end().catch(() => {});
    process.exit(0);
  };
  process.on('disconnect', leave);
  // Ctrl-C reaches the whole group; the benchmark says when its children end.
  process.on('SIGINT', () => {});
  process.on('message', async ({ id, verb, args }: Question) => {
    if (verb === END) return leave();
    try {
      const result = await verbs[verb]?.(args as never);
      process.send?.({ id, result } satisfies Answer);
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) } satisfies Answer);
    }
  });
}
