import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { type NatLab, natLabTools, serverAddress } from './nat-lab.js';

/** Debian packages for the lab with its TURN server. */
export const turnLabTools = { ...natLabTools, turnserver: 'coturn', openssl: 'openssl' };

export interface TurnServer {
  readonly stun: string;
  readonly turnUdp: string;
  /** On 3478, which a `web` home cannot reach, and on 443. */
  readonly turnTcp: readonly string[];
  /** On 5349 and on 443. */
  readonly turnTls: readonly string[];
  /** PEM certificate of the TLS servers. */
  readonly ca: string;
}

/** Starts coturn on the simulated internet: STUN and TURN on 3478 (UDP, TCP), 5349 (TLS), 443 (TCP and TLS). It ends with the lab. */
export async function startTurnServer(lab: NatLab): Promise<TurnServer> {
  const file = (name: string) => join(lab.folder, name);
  const subject = ['-subj', '/CN=turn.lab.test', '-addext', `subjectAltName=DNS:turn.lab.test,IP:${serverAddress}`];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  await execa('openssl', ['req', '-x509', ...key, ...subject, '-keyout', file('key.pem'), '-out', file('cert.pem')]);
  const args = [
    ...['-n', '--no-cli', '--lt-cred-mech', '--fingerprint', '--no-multicast-peers', '--simple-log'],
    ...['--listening-ip', serverAddress, '--relay-ip', serverAddress, '--listening-port', '3478', '--tls-listening-port', '5349'],
    ...['--aux-server', `${serverAddress}:443`, '--min-port', '50000', '--max-port', '59999'],
    ...['--user', 'lab:secret', '--realm', 'lab.test', '--cert', file('cert.pem'), '--pkey', file('key.pem')],
    ...['--pidfile', file('turn.pid'), '--log-file', file('turn.log'), '--userdb', file('turn.db')],
  ];
  const child = lab.spawn('inet', 'turnserver', args, { quiet: true });
  child.stdout?.resume();
  await listening(lab, child);
  const login = `lab:secret@${serverAddress}`;
  return {
    stun: `stun:${serverAddress}:3478`,
    turnUdp: `turn:${login}:3478?transport=udp`,
    turnTcp: [`turn:${login}:3478?transport=tcp`, `turn:${login}:443?transport=tcp`],
    turnTls: [`turns:${login}:5349`, `turns:${login}:443`],
    ca: readFileSync(file('cert.pem'), 'utf8'),
  };
}

async function listening(lab: NatLab, child: ChildProcess): Promise<void> {
  const until = Date.now() + 20_000;
  while (Date.now() < until && child.exitCode === null) {
    const sockets = await lab.run('inet', 'ss', ['-Hlntu']);
    if ([':3478', ':5349', ':443'].every((port) => sockets.includes(`${serverAddress}${port} `))) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('turnserver did not start');
}
