import { chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Aim, Attack, OwnersFile } from './attack.js';
import { makeCanary, stateOf } from './canaries.js';
import { socketsOf } from './machine.js';
import type { Stage } from './stage.js';
import { INSPECTOR_PORT, type Shot } from './verdict.js';

/** What there is to attack in one pass over all attacks. */
export interface Target {
  readonly stage: Stage;
  /** Names the pass in paths and words. */
  readonly name: string;
  /** Whom the Worker runs as. */
  readonly uid: number;
  readonly worker: number;
  readonly owner: Aim['owner'];
  /** The interface that leads out, as the attack sees it. */
  readonly zone: string;
}

const FIRST_PORT = 20_000;
let nextPort = FIRST_PORT;

/** Makes what each attack needs of its own, and has everybody listen. */
export async function takeAim(target: Target, attacks: readonly Attack[]): Promise<Shot[]> {
  const { stage, name, uid, worker, owner, zone } = target;
  const canaries = stage.folderFor(join(name, 'canaries'), uid);
  const open = stage.folderFor('open', uid);
  const [socket, abstract] = [join(open, `${name}.sock`), `peerwork-${name}-${process.pid}`];
  const engine = stage.lab.socket;
  const idle = idler(stage, uid);
  const sockets = socketsOf(worker);
  const shots = attacks.map((attack, index): Shot => {
    const canary = makeCanary(join(canaries, String(index)), uid);
    const needsPort = attack.group === 'network' || attack.group === 'network policy' || attack.group === 'the way out';
    const port = needsPort ? nextPort++ : 0;
    const listen = attack.evidence === 'dialled' ? nextPort++ : 0;
    const victim = attack.evidence === 'hurt' ? idler(stage, uid) : idle;
    const paths = { socket, abstract, engine, setUid: stage.setUid };
    const mark = `mark-${name}-${index}-x`;
    const aim = { id: String(index), port, listen, mark, canary, worker, victim, sockets, owner, paths, zone };
    return { attack, aim, before: stateOf(canary.folder), said: {} };
  });
  const asked = shots.filter(({ aim }) => aim.listen > 0).map(({ aim }) => aim.listen);
  const ports = shots.filter(({ aim }) => aim.port > 0).map(({ aim }) => aim.port);
  await stage.listen(ports, [socket, `\0${abstract}`], [...asked, INSPECTOR_PORT]);
  return shots;
}

/** What the code of an attack is given. */
export function orderOf(
  { attack, aim }: Shot,
  patienceMs?: number,
): { readonly attack: string; readonly w: Readonly<Record<string, unknown>> } {
  const { port, listen, mark, worker } = aim;
  return { attack: attack.body, w: { port, listen, mark, worker, ...(patienceMs !== undefined && { patienceMs }), ...attack.w?.(aim) } };
}

/** A process that waits, to be hurt. */
export function idler(stage: Stage, uid: number): number {
  // It ends with us, stopped or not: by the end of its input, or by a signal.
  const user = uid === 0 ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  const words = ['nsenter', stage.entry, 'setpriv', ...user, '--pdeathsig', 'KILL', '--', 'cat'];
  return stage.spawn(words, { stdio: ['pipe', 'ignore', 'ignore'] }).pid ?? 0;
}

/** The owner's files where no Worker is. */
export function inventOwner(folder: string, uid: number, worker: number): Aim['owner'] {
  const made = (name: string) => {
    const path = join(folder, name);
    const secret = `secret-of-${name.replace(/\W/g, '')}-${Math.random().toString(36).slice(2)}`;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${secret}\n`);
    chownSync(dirname(path), uid, uid);
    chownSync(path, uid, uid);
    return { path, secret };
  };
  return {
    dotenv: made('.env'),
    key: made('key.json'),
    npmrc: made('.npmrc'),
    ssh: made('.ssh/id_ed25519'),
    outbox: made('outbox/1'),
    task: made('workplaces/other/other-secret.txt'),
    layer: made('layers/other/node_modules/index.js'),
    environment: { path: `/proc/${worker}/environ`, secret: ENVIRONMENT_SECRET },
  } satisfies Record<OwnersFile, unknown>;
}

/** Stands in the environment of every Worker here. */
export const ENVIRONMENT_SECRET = 'secret-of-the-environment-4711';

export function contentOf(path: string): { readonly path: string; readonly secret: string } {
  return { path, secret: readFileSync(path, 'utf8').trim() };
}
