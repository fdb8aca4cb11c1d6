import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { type NatType, type RouterType, routerRules, udpStreamTimeoutS, udpTimeoutS } from './nat-rules.js';
import { removeFolder } from './remove-folder.js';

export type Side = 'a' | 'b';

/** Debian packages that the lab needs, for `requireTools`; it also needs root. */
export const natLabTools = { ip: 'iproute2', ss: 'iproute2', nft: 'nftables', conntrack: 'conntrack', sysctl: 'procps' };

const sideNumbers = { a: 1, b: 2 } as const;
/** Tracker, STUN and TURN. A second address lets a peer see whether its mapping depends on the destination. */
export const serverAddress = '203.0.113.10';
const secondServerAddress = '203.0.113.11';
const namePrefix = 'pwlab';
const namespaceFolder = '/run/netns';

/**
 * A small internet of network namespaces, without any way out of the machine:
 *
 *              br0 203.0.113.1, servers 203.0.113.10 and .11      namespace inet
 *                 |                                |
 *          203.0.113.2k (wan)              203.0.113.3k (wan)
 *                 |                      carrier's router k       namespace ck
 *                 |                        100.64.k.1 (lan)
 *                 |                                |
 *                 +---- home router k: wan or cwan -------+       namespace rk
 *                          192.168.k.1 (lan)
 *                                 |
 *                      hosts 192.168.k.11, .12, ...               namespaces k1, k2, ...
 *
 * with k = a, b (1, 2 in addresses). A home has one uplink at a time: `setNat` chooses it with the routers' rules, in about
 * 50 ms and while the peers run. Names begin with the process's id, so that several labs may run side by side; a lab
 * whose process is gone is cleared away by the next.
 */
export class NatLab {
  readonly folder: string;
  readonly #prefix: string;
  readonly #namespaces: string[] = [];
  readonly #processes = new Set<ChildProcess>();
  readonly #lastResort = () => this.#removeNamespaces();

  private constructor() {
    this.#prefix = `${namePrefix}-${process.pid}-${Math.random().toString(36).slice(2, 6)}`;
    this.folder = mkdtempSync(join(tmpdir(), `${namePrefix}-${process.pid}-`));
  }

  static async open(options: { readonly hosts?: number } = {}): Promise<NatLab> {
    removeOrphans();
    const lab = new NatLab();
    process.once('exit', lab.#lastResort);
    try {
      await lab.#build(options.hosts ?? 1);
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** Returns the full name of `inet`, `ra`, `ca`, `a1`, `b1`, … */
  namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  /** Changes a home's router while its peers run; all mappings are lost. */
  async setNat(side: Side, type: NatType): Promise<void> {
    const k = sideNumbers[side];
    const router = `r${side}`;
    const home: RouterType = type === 'cgn' ? 'port' : type;
    const [uplink, address, gateway] =
      type === 'cgn' ? ['cwan', `100.64.${k}.2`, `100.64.${k}.1`] : ['wan', `203.0.113.2${k}`, '203.0.113.1'];
    await this.#in(router, 'nft', ['-f', '-'], routerRules(home, uplink, address));
    // The other uplink is unplugged: its address would be a shortcut to the servers.
    const unused = uplink === 'wan' ? 'cwan' : 'wan';
    await this.#ip(router, [`link set ${unused} down`, `link set ${uplink} up`, `route replace default via ${gateway} dev ${uplink}`]);
    // A home without NAT has to be routable from outside, any other must not be.
    const route = type === 'none' ? `route replace 192.168.${k}.0/24 via 203.0.113.2${k}` : `route flush 192.168.${k}.0/24`;
    await this.#ip('inet', [route]);
    await Promise.all([router, `c${side}`].map((name) => this.#in(name, 'conntrack', ['-F'])));
  }

  /** Pulls or plugs the cable between the home's hosts and its router. */
  async setCable(side: Side, state: 'up' | 'down'): Promise<void> {
    await this.#ip(`r${side}`, [`link set h1 ${state}`]);
  }

  /**
   * Starts a program in a namespace. With `ipc` the child communicates with this process, which needs no network; `quiet` drops its
   * stderr.
   */
  spawn(
    name: string,
    command: string,
    args: readonly string[],
    options: { readonly ipc?: boolean; readonly quiet?: boolean } = {},
  ): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.namespace(name), command, ...args], {
      stdio: ['ignore', 'pipe', options.quiet ? 'ignore' : 'inherit', ...(options.ipc ? (['ipc'] as const) : [])],
    });
    this.#processes.add(child);
    child.once('exit', () => this.#processes.delete(child));
    return child;
  }

  /** Runs a program in a namespace to completion and returns its output. */
  async run(name: string, command: string, args: readonly string[]): Promise<string> {
    return this.#in(name, command, args);
  }

  async close(): Promise<void> {
    process.off('exit', this.#lastResort);
    const ends = [...this.#processes].map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of this.#processes) child.kill('SIGKILL');
    await Promise.all(ends);
    this.#removeNamespaces();
    await removeFolder(this.folder);
  }

  async #build(hosts: number): Promise<void> {
    await this.#addNamespace('inet', true);
    await this.#ip('inet', [
      'link add br0 type bridge',
      'link set br0 up',
      ...['203.0.113.1', serverAddress, secondServerAddress].map((address) => `addr add ${address}/24 dev br0`),
      // Packets to private addresses vanish in a cable without a receiver, as on the real internet. A `blackhole` route would
      // return an error to the sender, and coturn ends a client's whole session at the first of those.
      'link add void type veth peer name voidend',
      'link set void up',
      'link set voidend up',
      'addr add 198.18.0.1/30 dev void',
      'neigh add 198.18.0.2 lladdr 02:00:00:00:00:01 dev void nud permanent',
      'route add default via 198.18.0.2',
    ]);
    await Promise.all((['a', 'b'] as const).map((side) => this.#buildSide(side, hosts)));
  }

  async #buildSide(side: Side, hosts: number): Promise<void> {
    const k = sideNumbers[side];
    const [router, carrier] = [`r${side}`, `c${side}`];
    await this.#addNamespace(router, true);
    await this.#addNamespace(carrier, true);
    await this.#wire('inet', `to-${router}`, router, 'wan');
    await this.#wire('inet', `to-${carrier}`, carrier, 'wan');
    await this.#wire(carrier, 'lan', router, 'cwan');
    await this.#ip('inet', [`link set to-${router} master br0`, `link set to-${carrier} master br0`]);
    await this.#ip(carrier, [
      `addr add 203.0.113.3${k}/24 dev wan`,
      `addr add 100.64.${k}.1/24 dev lan`,
      'route add default via 203.0.113.1',
    ]);
    await this.#in(carrier, 'nft', ['-f', '-'], routerRules('sym', 'wan', `203.0.113.3${k}`));
    await this.#ip(router, [
      `addr add 203.0.113.2${k}/24 dev wan`,
      `addr add 100.64.${k}.2/24 dev cwan`,
      'link add lan type bridge',
      'link set lan up',
      `addr add 192.168.${k}.1/24 dev lan`,
    ]);
    for (let host = 1; host <= hosts; host++) {
      await this.#addNamespace(`${side}${host}`, false);
      await this.#wire(router, `h${host}`, `${side}${host}`, 'eth0');
      await this.#ip(router, [`link set h${host} master lan`]);
      await this.#ip(`${side}${host}`, [`addr add 192.168.${k}.${10 + host}/24 dev eth0`, `route add default via 192.168.${k}.1`]);
    }
    await this.setNat(side, 'port');
  }

  async #addNamespace(name: string, routes: boolean): Promise<void> {
    await execa('ip', ['netns', 'add', this.namespace(name)]);
    this.#namespaces.push(name);
    const net = (key: string, value: number) => `net.${key}=${value}`;
    await this.#in(name, 'sysctl', [
      '-qw',
      net('ipv4.ip_forward', routes ? 1 : 0),
      ...['all', 'default'].flatMap((scope) => [
        net(`ipv4.conf.${scope}.rp_filter`, 0),
        net(`ipv4.conf.${scope}.send_redirects`, 0),
        net(`ipv6.conf.${scope}.disable_ipv6`, 1),
      ]),
    ]);
    await this.#ip(name, ['link set lo up']);
    if (!routes || name === 'inet') return;
    // These exist only once the namespace tracks connections.
    await this.#in(name, 'nft', ['-f', '-'], routerRules('port', 'wan', '203.0.113.99'));
    const timeout = (key: string, seconds: number) => net(`netfilter.nf_conntrack_udp_timeout${key}`, seconds);
    await this.#in(name, 'sysctl', ['-qw', timeout('', udpTimeoutS), timeout('_stream', udpStreamTimeoutS)]);
  }

  /** Connects two namespaces by a cable. */
  async #wire(one: string, oneInterface: string, two: string, twoInterface: string): Promise<void> {
    const ends = ['netns', this.namespace(one), 'type', 'veth', 'peer', 'name', twoInterface, 'netns', this.namespace(two)];
    await execa('ip', ['link', 'add', oneInterface, ...ends]);
    await this.#ip(one, [`link set ${oneInterface} up`]);
    await this.#ip(two, [`link set ${twoInterface} up`]);
  }

  async #ip(name: string, commands: readonly string[]): Promise<void> {
    await execa('ip', ['-n', this.namespace(name), '-batch', '-'], { input: `${commands.join('\n')}\n` });
  }

  async #in(name: string, command: string, args: readonly string[], input?: string): Promise<string> {
    const { stdout } = await execa('ip', ['netns', 'exec', this.namespace(name), command, ...args], input === undefined ? {} : { input });
    return stdout;
  }

  /** Synchronous, so that it works during exit as well. Processes inside are killed first: they would keep the namespace alive. */
  #removeNamespaces(): void {
    for (const child of this.#processes) child.kill('SIGKILL');
    for (const name of this.#namespaces.splice(0)) removeNamespace(this.namespace(name));
  }
}

function removeNamespace(name: string): void {
  try {
    execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' }); // this removes its cables too
  } catch {
    // Already gone.
  }
}

function endProcessesIn(namespace: string): void {
  const pids = execFileSync('ip', ['netns', 'pids', namespace], { encoding: 'utf8' }).split('\n').filter(Boolean);
  for (const pid of pids) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Removes labs of killed processes: their namespaces and folders. */
function removeOrphans(): void {
  const isOrphan = (name: string) => {
    const pid = new RegExp(`^${namePrefix}-(\\d+)-`).exec(name)?.[1];
    if (pid === undefined) return false;
    try {
      process.kill(Number(pid), 0);
      return false;
    } catch {
      return true;
    }
  };
  // The first namespace on a machine creates the folder.
  const namespaces = existsSync(namespaceFolder) ? readdirSync(namespaceFolder) : [];
  for (const name of namespaces.filter(isOrphan)) {
    endProcessesIn(name);
    removeNamespace(name);
  }
  for (const name of readdirSync(tmpdir()).filter(isOrphan)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
}
