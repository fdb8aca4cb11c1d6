import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LabProcess } from './lab-process.js';
import { NatLab, serverAddress } from './nat-lab.js';
import type { Connected } from './nat-member.js';
import { type NatType, natTypes } from './nat-rules.js';
import { startTurnServer } from './turn-server.js';

export interface Cell {
  readonly master: NatType;
  readonly worker: NatType;
  /** The path when the link opened, and after ICE had settled; undefined if there was none in time. */
  readonly openedPath: string | undefined;
  readonly path: string | undefined;
  /** Milliseconds from the offer of the successful attempt to the end of the handshake, and in total since the Worker started. */
  readonly connectMs: number;
  readonly sinceStartMs: number;
  /** Failures before the successful attempt. */
  readonly warnings: readonly string[];
}

/** The swarm retries by itself; two failed attempts take less than this. */
const maxConnectMs = 25_000;

/** Whether packets of these two need a relay: a symmetric NAT's ports cannot be guessed by a peer that filters by port. */
export function needsRelay(a: NatType, b: NatType): boolean {
  const blocked = (type: NatType) => type === 'udpblock' || type === 'web';
  const symmetric = (type: NatType) => type === 'sym' || type === 'cgn';
  const filtersPorts = (type: NatType) => symmetric(type) || type === 'port';
  if (blocked(a) || blocked(b)) return true;
  return (symmetric(a) && filtersPorts(b)) || (symmetric(b) && filtersPorts(a));
}

/** Connects each pair of NAT types in one lab: one Master per row of the matrix, a new Worker per cell. */
export async function measureMatrix(onCell: (cell: Cell) => void, types: readonly NatType[] = natTypes): Promise<Cell[]> {
  const lab = await NatLab.open();
  try {
    const { stun, turnUdp, turnTcp, turnTls, ca } = await startTurnServer(lab);
    const tracker = new LabProcess(lab, 'inet', fileURLToPath(new URL('lab-tracker.js', import.meta.url)));
    const trackers = [await tracker.call<string>('start', { host: serverAddress, port: 80 })];
    const script = fileURLToPath(new URL('nat-member.js', import.meta.url));
    const [master, worker] = [new LabProcess(lab, 'a1', script), new LabProcess(lab, 'b1', script)];
    const cells: Cell[] = [];
    for (const masterType of types) {
      await lab.setNat('a', masterType);
      const token = await master.call<string>('master', { trackers, ice: [stun, turnUdp, ...turnTls, ...turnTcp], ca });
      for (const workerType of types) {
        await lab.setNat('b', workerType);
        await worker.call('worker', { token, ca });
        const cell = { master: masterType, worker: workerType, ...(await connect(worker, needsRelay(masterType, workerType))) };
        await worker.call('stop');
        cells.push(cell);
        onCell(cell);
      }
      await master.call('stop');
    }
    await tracker.call('stop');
    const codes = await Promise.all([master, worker, tracker].map((peer) => peer.close()));
    if (codes.some((code) => code !== 0)) throw new Error(`the processes ended with ${codes.join(', ')}`);
    return cells;
  } finally {
    await lab.close();
  }
}

async function connect(worker: LabProcess, relayNeeded: boolean): Promise<Omit<Cell, 'master' | 'worker'>> {
  const connected = await Promise.race([worker.call<Connected>('connected'), delay(maxConnectMs, undefined, { ref: false })]);
  const none = { openedPath: undefined, path: undefined, connectMs: Number.NaN, sinceStartMs: Number.NaN };
  if (connected === undefined) return { ...none, warnings: await worker.call<string[]>('warnings') };
  const { path: openedPath, ...times } = connected;
  const args = { text: 'x'.repeat(100_000) };
  const answer = await worker.call<unknown>('call', { args });
  if (JSON.stringify(answer) !== JSON.stringify([args, args])) return { ...none, warnings: ['the call was answered wrongly'] };
  const path = openedPath === 'relay' && !relayNeeded ? await settledPath(worker) : openedPath;
  return { openedPath, path, ...times };
}

async function settledPath(worker: LabProcess): Promise<string> {
  let path = 'unknown';
  for (const until = Date.now() + 3500; Date.now() < until; await delay(100)) {
    path = await worker.call<string>('path');
    if (path !== 'relay') break;
  }
  return path;
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

export function medianMs(cells: readonly Cell[], of: 'connectMs' | 'sinceStartMs'): number {
  return Math.round(median(cells.filter((cell) => cell.path !== undefined).map((cell) => cell[of])));
}

/**
 * Formats the matrix. Rows are the Master's router, columns the Worker's; milliseconds, `R` through the relay, `×n` for more than
 * one attempt.
 */
export function formatMatrix(cells: readonly Cell[]): string {
  const types = [...new Set(cells.map((cell) => cell.master))];
  const text = (cell: Cell | undefined) => {
    if (cell?.path === undefined) return '**no path**';
    const attempts = cell.warnings.length + 1;
    return `${Math.round(cell.connectMs)}${cell.path === 'relay' ? ' R' : ''}${attempts > 1 ? ` ×${attempts}` : ''}`;
  };
  const row = (columns: readonly string[]) => `| ${columns.join(' | ')} |`;
  const cellOf = (master: NatType, worker: NatType) => cells.find((cell) => cell.master === master && cell.worker === worker);
  return [
    row(['Master \\ Worker', ...types]),
    row(['---', ...types.map(() => '---:')]),
    ...types.map((master) => row([master, ...types.map((worker) => text(cellOf(master, worker)))])),
  ].join('\n');
}
