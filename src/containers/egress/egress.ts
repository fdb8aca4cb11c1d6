import { PublicInternet } from '../../egress/addresses.js';
import type { NetworkPolicy } from '../../egress/policy.js';
import { EgressProxy, PROXY_SOCKET } from '../../egress/proxy.js';
import { PeerworkError } from '../../errors.js';
import type { Tunnel } from '../../job/source.js';
import type { NetworkAccess } from '../container-spec.js';
import type { EngineFacts } from '../engine-facts.js';
import { hostName } from '../engine-facts.js';
import type { Firewall } from './firewall.js';

/** Label of an image that uses the proxy socket by itself and needs no network. */
const EGRESS_LABEL = 'peerwork.egress';

/** Network access of the containers of one job, shared by all of them. */
export interface Egress extends NetworkAccess {
  readonly mode: 'none' | 'proxy' | 'firewall' | 'unfiltered';
  /** One line for the log of the job. */
  readonly line: string;
  /** The name under which containers reach this machine, if the policy allows any of its ports. */
  readonly hostName: string;
  /** Called after the containers are gone. */
  close(): Promise<void>;
}

export interface EgressWish {
  readonly policy: NetworkPolicy;
  /** Labels of the image. */
  readonly imageLabels: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly tunnel?: Tunnel;
  readonly onRefused?: (target: string, reason: string) => void;
}

export interface EgressMeans {
  readonly facts: EngineFacts;
  /** Detected on first use; a string is the reason why there is none. */
  readonly firewall: () => Promise<Firewall | string>;
  /** Whether the owner allows containers on the network unfiltered where they cannot be filtered. */
  readonly unfiltered: boolean;
  readonly internet?: PublicInternet;
}

/** Picks the strictest mode that gives the job what it may have. Rejects with `egress-unavailable`. */
export async function openEgress(wish: EgressWish, means: EgressMeans): Promise<Egress> {
  const { facts } = means;
  const base = { hostName: hostName(facts), mounts: [], env: {}, close: async () => {} };
  const supportsProxy = wish.imageLabels[EGRESS_LABEL] === 'proxy' && facts.local;
  // A tunnel is reached through the proxy only.
  if (wish.policy.mode === 'none' && !(supportsProxy && wish.tunnel !== undefined))
    return { ...base, mode: 'none', line: 'no network', runArguments: ['--network=none'] };
  if (supportsProxy) return throughProxy(wish, means, base);
  const firewall = await means.firewall();
  if (typeof firewall !== 'string') {
    const network = await firewall.wall(wish.policy, wish.labels);
    const runArguments = [`--network=${network.name}`, ...network.hosts.map((host) => `--add-host=${host}`)];
    return { ...base, mode: 'firewall', line: `${nameOf(wish.policy)}, by a firewall`, runArguments, close: () => network.close() };
  }
  if (!means.unfiltered) throw new PeerworkError('egress-unavailable', firewall);
  const runArguments = facts.kind === 'docker' ? [`--add-host=${base.hostName}:host-gateway`] : [];
  return { ...base, mode: 'unfiltered', line: 'the whole network, as the owner allows', runArguments };
}

async function throughProxy(
  wish: EgressWish,
  means: EgressMeans,
  base: Pick<Egress, 'hostName' | 'mounts' | 'env' | 'close'>,
): Promise<Egress> {
  const { tunnel } = wish;
  const proxy = await EgressProxy.open({
    policy: wish.policy,
    internet: means.internet ?? new PublicInternet(),
    ...(tunnel !== undefined && { tunnel: () => tunnel }),
    ...(wish.onRefused !== undefined && { onRefused: wish.onRefused }),
  });
  return {
    ...base,
    mode: 'proxy',
    line: `${nameOf(wish.policy)}, through the worker's proxy`,
    runArguments: ['--network=none'],
    mounts: [{ source: proxy.socketPath, target: PROXY_SOCKET }],
    env: { PEERWORK_PROXY_SOCKET: PROXY_SOCKET },
    close: () => proxy.close(),
  };
}

function nameOf(policy: NetworkPolicy): string {
  if (policy.mode === 'none') return 'the tunnel of the job only';
  return policy.mode === 'internet' ? 'the public internet' : 'listed hosts only';
}
