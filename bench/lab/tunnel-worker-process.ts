/** A Worker in a process of its own whose one job offers its tunnel on a port, for as long as the process lives. */
import type { Outcome } from '../../src/job/job.js';
import { openTunnelPort, type TunnelPort } from '../../src/runners/tunnel-port.js';
import { Worker } from '../../src/worker/worker.js';
import { serve, usage } from './child.js';

let opened: Worker | undefined;
let found: (port: TunnelPort) => void = () => {};
const port = new Promise<TunnelPort>((resolve) => {
  found = resolve;
});

const verbs = {
  /** Resolves when the Worker has joined. */
  async open({ token, home }: { readonly token: string; readonly home: string }): Promise<void> {
    opened = new Worker({
      token,
      home,
      name: 'bench',
      concurrency: 1,
      loglevel: 'error',
      runners: [
        {
          kind: 'tunnel-holder',
          required: true,
          open: async () => ({
            kind: 'tunnel-holder',
            isolation: 'none',
            run: async (_job, { tunnel, signal }) => {
              if (tunnel !== undefined) found(await openTunnelPort(tunnel));
              await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
              return { state: 'released', reason: 'the benchmark is over' } satisfies Outcome;
            },
            close: async () => {},
          }),
        },
      ],
    });
    await opened.ready;
  },

  /** Once the job runs. */
  port: async (): Promise<number> => (await port).port,

  usage,
};
export type TunnelWorkerVerbs = typeof verbs;

serve(verbs, async () => {
  await (await Promise.race([port, undefined]))?.close();
  await opened?.close();
});
