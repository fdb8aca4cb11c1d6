import { networkInterfaces } from 'node:os';
import type { Command } from 'commander';
import { listenError } from '../kit/system-error.js';
import { logToStderr } from '../log.js';
import type { TrackerServer } from '../swarm/tracker-server.node.js';
import { readOptions } from './options.js';
import { catchSignals } from './stop.js';

/** Runs a tracker until it is stopped; prints one URL per line on stdout. */
export async function tracker(command: Command): Promise<number> {
  const { trackerHost, trackerPort, logLevel } = await readOptions(command, 'tracker');
  const log = logToStderr(logLevel);
  const { TrackerServer } = await import('../swarm/tracker-server.node.js');
  const server = new TrackerServer();
  try {
    await server.start(trackerPort, trackerHost);
  } catch (thrown) {
    throw listenError(thrown, 'address-unusable', `the tracker cannot listen on ${trackerHost}:${trackerPort}`);
  }
  const signals = catchSignals();
  for (const url of urlsOf(server, trackerHost)) process.stdout.write(`${url}\n`);
  log.info('tracker listens', { host: trackerHost, port: server.port });
  const signal = await signals.first;
  log.info('tracker stops', { signal, peers: server.peers });
  await server.close();
  signals.release();
  return 0;
}

/** Returns the URLs under which others reach it: those of the LAN before the loopback one. */
function urlsOf(server: TrackerServer, host: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [server.url];
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal);
  return [...addresses.map(({ address }) => `ws://${address}:${server.port}`), server.url];
}
