import { fileURLToPath } from 'node:url';
import { LabProcess } from './lab-process.js';
import { NatLab } from './nat-lab.js';
import type { Opened } from './nat-peer.js';
import { type NatType, natTypes } from './nat-rules.js';
import { startTurnServer, type TurnServer } from './turn-server.js';

export interface Cell {
  readonly a: NatType;
  readonly b: NatType;
  /** The path as it opened, and as it was when ICE had settled; undefined if none did. */
  readonly openedPath: string | undefined;
  readonly path: string | undefined;
  /** How a side that needs a relay reaches it. */
  readonly via: string;
  /** From the offer until both sides are open, in the attempt that opened. */
  readonly openMs: number;
  readonly attempts: number;
  /** Why the others did not. */
  readonly errors: readonly string[];
}

const maxAttempts = 3;

/** Can packets of these two pass without a relay? Symmetric ports cannot be guessed by who filters ports. */
export function needsRelay(a: NatType, b: NatType): boolean {
  const blocked = (type: NatType) => type === 'udpblock' || type === 'web';
  const symmetric = (type: NatType) => type === 'sym' || type === 'cgn';
  const filtersPorts = (type: NatType) => symmetric(type) || type === 'port';
  if (blocked(a) || blocked(b)) return true;
  return (symmetric(a) && filtersPorts(b)) || (symmetric(b) && filtersPorts(a));
}

/** Connects each pair of NAT types, `a` offering, in one lab with two long-lived peers. */
export async function measureMatrix(onCell: (cell: Cell) => void, types: readonly NatType[] = natTypes): Promise<Cell[]> {
  const lab = await NatLab.open();
  try {
    const turn = await startTurnServer(lab);
    const script = fileURLToPath(new URL('nat-peer.js', import.meta.url));
    const [a, b] = [new LabProcess(lab, 'a1', script), new LabProcess(lab, 'b1', script)];
    const cells: Cell[] = [];
    for (const typeA of types) {
      await lab.setNat('a', typeA);
      for (const [index, typeB] of types.entries()) {
        await lab.setNat('b', typeB);
        const [joinedA, joinedB] = await Promise.all([
          index === 0 ? join(a, turn) : Promise.resolve(cells.at(-1)?.via ?? ''),
          join(b, turn),
        ]);
        const cell = await connect(a, b, typeA, typeB, joinedA.split(' / ')[0] ?? '', joinedB);
        cells.push(cell);
        onCell(cell);
      }
    }
    await Promise.all([a.call('leave'), b.call('leave')]);
    const codes = await Promise.all([a.close(), b.close()]);
    if (codes.some((code) => code !== 0)) throw new Error(`the peers ended with ${codes.join(' and ')}`);
    return cells;
  } finally {
    await lab.close();
  }
}

/** Joins with every server there is, as a token would list them; tells how a relay is reached from there. */
async function join(peer: LabProcess, turn: TurnServer): Promise<string> {
  const servers = [turn.stun, turn.turnUdp, ...turn.turnTls, ...turn.turnTcp];
  const { uses } = await peer.call<{ uses: string[] }>('join', { servers, ca: turn.ca });
  return uses.some((url) => url.startsWith('stun:')) ? 'UDP' : 'TLS/TCP';
}

async function connect(a: LabProcess, b: LabProcess, typeA: NatType, typeB: NatType, viaA: string, viaB: string): Promise<Cell> {
  const errors: string[] = [];
  const via = `${viaA} / ${viaB}`;
  for (let attempts = 1; attempts <= maxAttempts; attempts++) {
    const beganAt = performance.now();
    try {
      const answer = await b.call<string>('answer', { sdp: await a.call<string>('offer') });
      await a.call('accept', { sdp: answer });
      const [here, there] = await Promise.all([a.call<Opened>('opened'), b.call<Opened>('opened')]);
      const openMs = performance.now() - beganAt;
      const { same } = await a.call<{ same: boolean }>('echo', { bytes: 65_536 });
      if (!same) throw new Error('the bytes came back altered');
      const openedPath = here.path === 'relay' || there.path === 'relay' ? 'relay' : here.path;
      const path = openedPath === 'relay' && !needsRelay(typeA, typeB) ? await settledPath(a, b) : openedPath;
      return { a: typeA, b: typeB, openedPath, path, via, openMs, attempts, errors };
    } catch (error) {
      errors.push(error instanceof Error ? error.message : String(error));
    } finally {
      await Promise.all([a.call('close'), b.call('close')]);
    }
  }
  return { a: typeA, b: typeB, openedPath: undefined, path: undefined, via, openMs: Number.NaN, attempts: maxAttempts, errors };
}

async function settledPath(a: LabProcess, b: LabProcess): Promise<string> {
  let paths: string[] = [];
  for (const until = Date.now() + 3500; Date.now() < until; ) {
    paths = await Promise.all([a.call<string>('path'), b.call<string>('path')]);
    if (!paths.includes('relay')) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return paths.includes('relay') ? 'relay' : (paths[0] ?? 'unknown');
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Rows offer, columns answer: milliseconds until open, `R` through the relay, `×n` for more than one attempt. */
export function formatMatrix(cells: readonly Cell[]): string {
  const types = [...new Set(cells.map((cell) => cell.a))];
  const text = (cell: Cell | undefined) => {
    if (cell?.path === undefined) return '**no path**';
    return `${Math.round(cell.openMs)}${cell.path === 'relay' ? ' R' : ''}${cell.attempts > 1 ? ` ×${cell.attempts}` : ''}`;
  };
  const row = (columns: readonly string[]) => `| ${columns.join(' | ')} |`;
  return [
    row(['offers \\ answers', ...types]),
    row(['---', ...types.map(() => '---:')]),
    ...types.map((a) => row([a, ...types.map((b) => text(cells.find((cell) => cell.a === a && cell.b === b)))])),
  ].join('\n');
}
