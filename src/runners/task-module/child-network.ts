import type { PublicInternet } from '../../egress/addresses.js';
import type { NetworkPolicy } from '../../egress/policy.js';
import { EgressProxy } from '../../egress/proxy.js';
import { TUNNEL_NAME } from '../../egress/reach.js';
import { asPeerworkError } from '../../errors.js';
import type { Tunnel } from '../../job/source.js';
import type { TunnelAddress } from './child/wire.js';
import type { Run } from './run.js';

const PORTS = 65_535;

/** The jobs of a child. */
export interface ChildJobs {
  head(): Run | undefined;
  /** Finds a job by its number in the child; undefined once it has ended. */
  numbered(matches: (number: number) => boolean): Run | undefined;
}

/** The network access of one child in bubblewrap. Throws if no socket can be created. */
export function openChildNetwork(policy: NetworkPolicy, internet: PublicInternet, jobs: ChildJobs): EgressProxy {
  return EgressProxy.start({
    policy,
    internet,
    tunnel: (port) => tunnelOf(jobs.numbered((number) => portOf(number) === port)),
    onRefused: (target, reason) => jobs.head()?.report({ kind: 'log', stream: 'log', line: `network-denied: ${target}: ${reason}` }),
  });
}

/**
 * Returns the tunnel address of the job with this number. Each job has its own port, so that it never reaches the tunnel of the previous
 * one.
 */
export function tunnelAddress(number: number): TunnelAddress {
  return { host: TUNNEL_NAME, port: portOf(number) };
}

function portOf(number: number): number {
  return ((number - 1) % PORTS) + 1;
}

/** The program only sees that its connection failed; the reason is in the job's log. */
function tunnelOf(run: Run | undefined): Tunnel | undefined {
  const tunnel = run?.way;
  if (run === undefined || tunnel === undefined) return undefined;
  return {
    open: (signal) =>
      tunnel.open(signal).catch((error: unknown) => {
        run.report({ kind: 'log', stream: 'stderr', line: asPeerworkError(error, 'tunnel-broken').message });
        throw error;
      }),
  };
}
