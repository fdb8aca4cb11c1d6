import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import type { PeerworkError } from '../../src/errors.js';
import type { Lease, Source } from '../../src/job/source.js';
import { createLog } from '../../src/log.js';
import type { SourceSetup } from '../../src/sources/setup.js';
import { loadOrCreateKeyFile } from '../../src/swarm/key-file.node.js';
import { Sources } from '../../src/worker/sources.js';
import { removeFolder } from './remove-folder.js';

/** Creates a folder that is removed with the test. */
export function temporaryFolder(t: Test, name = 'test'): string {
  const folder = mkdtempSync(join(tmpdir(), `peerwork-${name}-`));
  t.teardown(() => removeFolder(folder));
  return folder;
}

/** Creates a folder with a task that returns its data. */
export function echoTask(t: Test): string {
  const folder = temporaryFolder(t, 'task');
  writeFileSync(join(folder, 'task.mjs'), 'export default async (data) => data;\n');
  return folder;
}

export interface OpenSource {
  readonly source: Source;
  readonly warnings: PeerworkError[];
  /** Its log lines, at every level. */
  readonly lines: string[];
  /** Number of outcomes that are not acknowledged. */
  unsent(): number;
  /** Idempotent; called at the end of the test at the latest. */
  close(): Promise<void>;
  /** Claims one lease. */
  take(): Promise<Lease>;
}

/** Opens a source as a Worker does, with the test in the Worker's place. */
export async function openSource(
  t: Test,
  setup: SourceSetup,
  folder = temporaryFolder(t, 'source'),
  runners: readonly string[] = ['task-module'],
  clock: Clock = systemClock,
): Promise<OpenSource> {
  const warnings: PeerworkError[] = [];
  const lines: string[] = [];
  const opened = new Sources({
    setups: [setup],
    folder,
    worker: 'lab',
    concurrency: 4,
    runners: { joined: () => Promise.resolve(), find: async () => undefined, ready: new Map(runners.map((kind) => [kind, undefined])) },
    keys: loadOrCreateKeyFile(join(folder, 'key.json')),
    clock,
    log: createLog({ level: 'debug', write: (line) => lines.push(line) }),
    onJoin: () => {},
    onWarning: (_, error) => warnings.push(error),
  });
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= opened.close();
    return closing;
  };
  t.teardown(close);
  await opened.opened;
  const source = opened.ready[0] as Source;
  const take = async () => {
    const [lease] = await source.claim(1, AbortSignal.timeout(240_000));
    if (lease === undefined) throw new Error('no lease came');
    return lease;
  };
  return { source, warnings, lines, unsent: () => opened.unsent, close, take };
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
}
