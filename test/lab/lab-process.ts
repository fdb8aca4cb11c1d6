import type { ChildProcess } from 'node:child_process';
import type { NatLab } from './nat-lab.js';

/** Longer than any call should take, so that a test names the call that hangs instead of hanging itself. */
const CALL_MS = 45_000;
/** How long a process has to end by itself after the test has released it. */
const ORPHAN_MS = 10_000;

interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly code?: string };
}

/**
 * A Node process inside the lab that handles calls over IPC; its script ends in `serve(handlers)`. IPC needs no network, so it
 * works whatever the NAT between the processes does.
 */
export class LabProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly ended: Promise<number | null>;
  #lastId = 0;

  constructor(lab: NatLab, host: string, script: string, args: readonly string[] = []) {
    this.#child = lab.spawn(host, process.execPath, [script, ...args], { ipc: true });
    this.#child.stdout?.pipe(process.stderr);
    this.ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.on('message', (reply: Reply) => {
      const { resolve, reject } = this.#waiting.get(reply.id) ?? {};
      this.#waiting.delete(reply.id);
      if (reply.error === undefined) resolve?.(reply.value);
      else reject?.(Object.assign(new Error(reply.error.message), { code: reply.error.code }));
    });
    this.#child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the process in the lab ended (${code ?? signal})`));
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  call<Value>(verb: string, args: object = {}): Promise<Value> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const timer = setTimeout(() => reject(new Error(`the process in the lab does not answer: ${verb}`)), CALL_MS);
      timer.unref();
      this.#waiting.set(id, { resolve: (value) => resolve(value as Value), reject });
      this.#child.send({ id, verb, args });
    });
  }

  /** Ends the process in an orderly way: it exits by itself once nothing is open and no call can reach it any more. */
  async close(): Promise<number | null> {
    if (this.#child.connected) this.#child.disconnect();
    return this.ended;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** The other end, inside the lab. It does not outlive the test, however that ends. */
export function serve(handlers: Readonly<Record<string, (args: never) => unknown>>): void {
  process.once('disconnect', () => setTimeout(() => process.exit(1), ORPHAN_MS).unref());
  process.on('message', async ({ id, verb, args }: { id: number; verb: string; args: never }) => {
    let reply: Reply;
    try {
      reply = { id, value: await handlers[verb]?.(args) };
    } catch (error) {
      const { message, code } = error as Error & { code?: string };
      reply = { id, error: { message, ...(code !== undefined && { code }) } };
    }
    process.send?.(reply);
  });
}
