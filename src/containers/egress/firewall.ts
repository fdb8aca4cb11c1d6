import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { ownNetworks, PublicInternet } from '../../egress/addresses.js';
import { type NetworkPolicy, readTarget } from '../../egress/policy.js';
import { isHostName, systemLookup } from '../../egress/reach.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import { CommandLine, complaintOf } from '../command-line.js';
import { hostName } from '../engine-facts.js';
import { type FoundEngine, findProgram } from '../find-engine.js';
import { firewallRules, type Opening } from './firewall-rules.js';

const CAP_NET_ADMIN = 12n;
const systemFolders = '/usr/sbin:/sbin:/usr/local/sbin';

/** The firewalled network of one job. */
export interface WalledNetwork {
  readonly name: string;
  /** `name:address` of hosts that were resolved for the container. */
  readonly hosts: readonly string[];
  close(): Promise<void>;
}

/**
 * A docker network for each job, with nftables rules that enforce the policy on what leaves it. Needs root (or CAP_NET_ADMIN), nft, and
 * an engine whose bridges are in this process's own network namespace. The rules are in force before a container joins the network: no
 * packet ever leaves it unfiltered.
 */
export class Firewall {
  readonly #engine: FoundEngine;
  readonly #nft: CommandLine;
  readonly #worker: string;

  private constructor(engine: FoundEngine, nft: CommandLine, worker: string) {
    this.#engine = engine;
    this.#nft = nft;
    this.#worker = worker;
  }

  /** Returns the firewall of this machine, or the reason why there is none. */
  static async find(engine: FoundEngine, worker: string): Promise<Firewall | string> {
    const { facts } = engine;
    if (process.platform !== 'linux') return 'a firewall needs Linux';
    if (!facts.local || facts.rootless) return 'a firewall needs an engine of this machine that runs as root';
    const nft = findProgram('nft', { PATH: `${process.env['PATH'] ?? ''}:${systemFolders}` });
    if (nft === undefined) return 'nft is not installed (apt install nftables)';
    if (!(await hasNetAdmin())) return 'a firewall needs root or CAP_NET_ADMIN';
    const command = new CommandLine(nft, process.env);
    const { exitCode, stderr } = await command.try(['list', 'tables']);
    return exitCode === 0 ? new Firewall(engine, command, worker) : `nft: ${complaintOf(stderr)}`;
  }

  /** Creates a filtered network. Rejects with `egress-unavailable` if it cannot be filtered after all. */
  async wall(policy: NetworkPolicy, labels: Readonly<Record<string, string>>): Promise<WalledNetwork> {
    const id = randomBytes(5).toString('hex');
    const [name, table] = [`peerwork-${this.#worker}-${id}`, `${tablePrefix(this.#worker)}${id}`];
    const close = async () => {
      await this.#engine.command.try(['network', 'rm', name]);
      await this.#nft.try(['delete', 'table', 'inet', table]);
    };
    try {
      const found = await openingsOf(policy);
      const { bridge, gateway } = await this.#createNetwork(name, `pw${id}`, labels);
      const openings = [...found.openings, ...found.hostPorts.map((port) => ({ address: gateway, port }))];
      const plan = {
        table,
        bridge,
        openings,
        internet: policy.mode === 'internet',
        own: ownNetworks().map(({ cidr }) => cidr),
        nameServers: policy.mode === 'internet' ? await nameServers() : [],
      };
      await this.#nft.run(['-f', '-'], { input: firewallRules(plan) });
      const hosts = found.hostPorts.length > 0 ? [`${hostName(this.#engine.facts)}:${gateway}`] : [];
      return { name, hosts: [...found.hosts, ...hosts], close };
    } catch (error) {
      await close();
      throw new PeerworkError('egress-unavailable', asPeerworkError(error).detail, { cause: error });
    }
  }

  /** Removes what a killed worker left. Containers in its networks must have been removed before. */
  async sweep(): Promise<void> {
    const { command } = this.#engine;
    const networks = await command.run(['network', 'ls', '-q', '--filter', `label=peerwork.worker=${this.#worker}`]);
    for (const network of networks.split('\n').filter(Boolean)) await command.try(['network', 'rm', network]);
    const tables = await this.#nft.run(['list', 'tables']);
    for (const [, table = ''] of tables.matchAll(/^table inet (\w+)$/gm))
      if (table.startsWith(tablePrefix(this.#worker))) await this.#nft.try(['delete', 'table', 'inet', table]);
  }

  /** Creates the network. Its bridge has the requested name with docker, and one that podman chooses otherwise. */
  async #createNetwork(
    name: string,
    requestedName: string,
    labels: Readonly<Record<string, string>>,
  ): Promise<{ bridge: string; gateway: string }> {
    const { facts, command } = this.#engine;
    // Podman chooses the name itself, at least before 4.5. Its name server would listen on this machine; without it containers query this
    // machine's own.
    const named = facts.kind === 'podman' ? ['--disable-dns'] : ['--opt', `com.docker.network.bridge.name=${requestedName}`];
    const labelArguments = Object.entries(labels).flatMap(([label, value]) => ['--label', `${label}=${value}`]);
    await command.run(['network', 'create', '--driver', 'bridge', ...named, ...labelArguments, name]);
    const inspected = await command.run(['network', 'inspect', name]);
    const gateway = /"gateway":\s*"([\d.]+)/i.exec(inspected)?.[1];
    if (gateway === undefined || !isIPv4(gateway)) throw new Error('the network of the job has no IPv4 gateway');
    const bridge = facts.kind === 'podman' ? /"network_interface":\s*"([\w.-]+)"/.exec(inspected)?.[1] : requestedName;
    if (bridge === undefined) throw new Error('the network of the job has no bridge');
    // Podman creates the bridge with its first container.
    if (facts.kind === 'docker' && !(await readFile('/proc/self/net/dev', 'utf8')).includes(`${bridge}:`))
      throw new Error('the networks of the engine are not in the network namespace of this worker');
    return { bridge, gateway };
  }
}

function tablePrefix(worker: string): string {
  return `peerwork_${worker}_`;
}

async function hasNetAdmin(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return ((effective >> CAP_NET_ADMIN) & 1n) === 1n;
}

interface Openings {
  readonly openings: readonly Opening[];
  readonly hosts: readonly string[];
  /** Ports of this machine itself. */
  readonly hostPorts: readonly number[];
}

/** Resolves the allowed hosts once; the container is given these addresses, and only they are open to it. */
async function openingsOf(policy: NetworkPolicy): Promise<Openings> {
  const internet = new PublicInternet();
  const openings: Opening[] = [];
  const hosts: string[] = [];
  const hostPorts: number[] = [];
  for (const [pairs, trusted] of [[policy.trusted, true] as const, [policy.listed, false] as const]) {
    for (const pair of pairs) {
      const everyPort = pair.endsWith(':*');
      const target = readTarget(everyPort ? `${pair.slice(0, -1)}1` : pair);
      if (target === undefined) continue;
      if (isHostName(target.host)) {
        if (trusted && !everyPort) hostPorts.push(target.port);
        continue;
      }
      const addresses = isIPv4(target.host) ? [target.host] : (await systemLookup(target.host)).filter((address) => isIPv4(address));
      const allowed = addresses.filter((address) => trusted || internet.has(address));
      for (const address of allowed) openings.push(everyPort ? { address } : { address, port: target.port });
      const [first] = allowed;
      if (first !== undefined && first !== target.host) hosts.push(`${target.host}:${first}`);
    }
  }
  return { openings, hosts, hostPorts };
}

/** Returns the name servers that the engine's own one queries from within a container's network: those of the system, except loopback. */
async function nameServers(): Promise<readonly string[]> {
  for (const file of ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']) {
    const text = await readFile(file, 'utf8').catch(() => '');
    const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address = '']) => address);
    const usable = servers.filter((address) => isIPv4(address) && !address.startsWith('127.'));
    if (usable.length > 0) return usable;
  }
  return [];
}
