/** What an attack is, and how it is decided whether it came through. */

export type Tier = 'process' | 'bwrap' | 'container';
export const tiers: readonly Tier[] = ['process', 'bwrap', 'container'];

/** What the documentation says: stopped; not stopped; stopped only where the Worker is root, whose jobs have users of their own; not there to be tried. */
export type Verdict = 'held' | 'open' | 'root' | 'n/a';

export type Group =
  | 'network'
  | 'network policy'
  | 'the way out'
  | 'reading files'
  | 'writing files'
  | 'processes'
  | 'kernel'
  | 'memory and disk'
  | 'the channel to the Worker'
  | 'left behind'
  | 'between jobs';

/** The network policy of the task that attacks. */
export type Policy = 'internet' | 'none' | 'hosts' | 'lan';

/**
 * What shows that an attack came through:
 * - `reach`: a server that is not on the public internet saw it; `reach any`: any server did;
 * - `name`: the name server was told; `dialled`: it could be reached from outside;
 * - `secret`: it told a secret that it could only have read; `changed`: files of the owner are not what they were;
 * - `done`: it says so itself, which is believed;
 * - `hurt`: its victim was ended, stopped or slowed down; `inspector`: the Worker listens for debuggers;
 * - `unbounded`: it was not ended for what it used up; `lasting`: its folder could not be removed, or what is the owner's was;
 * - `left`: a process of it is still there; `worker`: the Worker is gone or does no more jobs, which is looked at after every attack of a tier.
 */
export type Evidence =
  | 'reach'
  | 'reach any'
  | 'name'
  | 'dialled'
  | 'secret'
  | 'changed'
  | 'done'
  | 'hurt'
  | 'inspector'
  | 'unbounded'
  | 'lasting'
  | 'left'
  | 'worker';

/** Files made for one run of one attack; nobody else has them. */
export interface Canary {
  readonly folder: string;
  /** Holds `secret`; a name of 12 characters and no extension. */
  readonly file: string;
  /** Hold `secret` too, as JSON, as an ES module and as variables. */
  readonly json: string;
  readonly module: string;
  readonly variables: string;
  readonly secret: string;
  /** A path beside them where nothing is. */
  readonly fresh: string;
}

/** One run of one attack. */
export interface Aim {
  readonly id: string;
  /** Every server listens here, for this run alone. */
  readonly port: number;
  /** Nobody listens here, but somebody asks for it. */
  readonly listen: number;
  /** A word that names this run. */
  readonly mark: string;
  readonly canary: Canary;
  /** The process of the Worker, as this machine numbers it. */
  readonly worker: number;
  /** A process of the Worker's user that does nothing, for this run alone where it is to be hurt; else one for all. */
  readonly victim: number;
  /** The numbers of the sockets that the Worker has open. */
  readonly sockets: readonly number[];
  /** What belongs to the Worker: its token, key, and so on; `secret` is in each. */
  readonly owner: Readonly<Record<OwnersFile, { readonly path: string; readonly secret: string }>>;
  readonly paths: { readonly socket: string; readonly abstract: string; readonly engine: string; readonly setUid: string };
  /** The interface that leads out, as the attack sees it. */
  readonly zone: string;
}

export type OwnersFile = 'dotenv' | 'key' | 'npmrc' | 'ssh' | 'outbox' | 'task' | 'layer' | 'environment';

export interface Attack {
  readonly name: string;
  readonly group: Group;
  /** Its code: a name in test/fixtures/attacks. */
  readonly body: string;
  readonly evidence: Evidence;
  /** What its code is told, besides `port`, `listen`, `mark`, `worker`, `calls` and `addon`. */
  readonly w?: (aim: Aim) => Readonly<Record<string, unknown>>;
  /** By tier, where it is not `held`. */
  readonly expected?: Partial<Record<Tier, Verdict>>;
  readonly policy?: Policy;
  /**
   * `false`: not tried without a wall, because what it does is plain or would harm this machine. `root`: only root can do it anyway. `user`: only
   * an ordinary user has something to gain.
   */
  readonly control?: false | 'root' | 'user';
  /** `false`: not tried behind bubblewrap alone, without Node's permission model: that is what stops it, and it is no harm. */
  readonly wall?: boolean;
}

export function expectedOf(attack: Attack, tier: Tier): Verdict {
  return attack.expected?.[tier] ?? 'held';
}
