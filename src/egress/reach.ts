import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Tunnel } from '../job/source.js';
import type { PublicInternet } from './addresses.js';
import { includesPair, type NetworkPolicy, pairOf, readTarget, type Target } from './policy.js';

/** Names by which containers address this machine: its loopback, at ports that were allowed. Each is the one of an engine. */
export const hostNames = { docker: 'host.docker.internal', podman: 'host.containers.internal' } as const;
/** The name under which a job reaches the one address that its source opens to it. */
export const TUNNEL_NAME = 'tunnel.peerwork';

const NOT_PUBLIC =
  'it is not on the public internet; the owner of this worker may allow it by name (--task-network), and the task has to ask for it in its task.json';
const CONNECT_MS = 15_000;
const LOOKUP_MS = 10_000;

export interface ReachOptions {
  readonly policy: NetworkPolicy;
  readonly internet: PublicInternet;
  /** Returns the tunnel behind `TUNNEL_NAME` at a port. */
  readonly tunnel?: (port: number) => Tunnel | undefined;
  /** Resolves a name to all its addresses; default: the system's resolver. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
}

/** The reason why a job may not reach a target. */
export class Refused extends Error {}

/**
 * Opens a byte stream to `host:port` if the policy allows it, else rejects with `Refused`. A name is resolved once, its addresses are
 * checked, and one of those is connected to, so that DNS rebinding has no effect.
 */
export async function reach(authority: string, options: ReachOptions, signal: AbortSignal): Promise<Duplex> {
  const target = readTarget(authority);
  if (target === undefined) throw new Refused('it is not host:port');
  if (target.host === TUNNEL_NAME) {
    const tunnel = options.tunnel?.(target.port);
    if (tunnel === undefined) throw new Refused('this job has no tunnel');
    return tunnel.open(signal);
  }
  const addresses = await allowedAddresses(target, options);
  let fault: unknown;
  for (const address of addresses) {
    try {
      return await connectTo(address, target.port, signal);
    } catch (error) {
      fault = error;
    }
  }
  throw fault;
}

/** Whether this name stands for this machine, with whichever engine. */
export function isHostName(host: string): boolean {
  return host === hostNames.docker || host === hostNames.podman;
}

async function allowedAddresses({ host, port }: Target, options: ReachOptions): Promise<readonly string[]> {
  const { policy, internet } = options;
  const pair = pairOf(host, port);
  const trusted = includesPair(policy.trusted, pair);
  if (!trusted && policy.mode !== 'internet' && !includesPair(policy.listed, pair))
    throw new Refused(policy.why ?? 'it is not among the allowed hosts');
  if (isHostName(host)) {
    if (!trusted) throw new Refused('this port of the host was not allowed by its owner');
    return ['127.0.0.1'];
  }
  const addresses = isIP(host) === 0 ? await resolveName(host, options.lookup ?? systemLookup) : [host];
  const allowed = trusted ? addresses : addresses.filter((address) => internet.has(address));
  if (allowed.length === 0) throw new Refused(NOT_PUBLIC);
  return allowed;
}

async function resolveName(host: string, resolver: (host: string) => Promise<readonly string[]>): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(failure('EAI_AGAIN', `the name ${host} was not resolved in time`)), LOOKUP_MS);
  });
  try {
    const addresses = await Promise.race([resolver(host), late]);
    if (addresses.length === 0) throw failure('ENOTFOUND', `the name ${host} has no address`);
    return addresses;
  } finally {
    clearTimeout(timer);
  }
}

export async function systemLookup(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function connectTo(address: string, port: number, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, noDelay: true, keepAlive: true, allowHalfOpen: true });
    const timer = setTimeout(() => socket.destroy(failure('ETIMEDOUT', 'it does not respond')), CONNECT_MS);
    // Only while connecting: a stream that is cut later is reset, whereas the signal option of `connect` would end it.
    const onAbort = () => socket.destroy(new Error('it is no longer wanted'));
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', (error) => {
      done();
      reject(error);
    });
    socket.once('connect', () => {
      done();
      socket.removeAllListeners('error');
      resolve(socket);
    });
    if (signal.aborted) onAbort();
  });
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
