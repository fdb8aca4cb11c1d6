import { type Clock, systemClock, type Timer } from '../../clock.js';
import type { Log } from '../../log.js';
import { formatIceUrl, type IceAccess, type IceServer, toRtcIceServer } from './ice.js';
import { askTcp, askUdp } from './ice-probe.node.js';
import { TurnBridge } from './turn-bridge.node.js';

export interface NodeIceOptions {
  readonly clock?: Clock | undefined;
  readonly log?: Log | undefined;
  /** PEM certificates to trust for `turns:` instead of the system's. */
  readonly turnCa?: string | undefined;
}

/** UDP counts as blocked if no server has replied by then. */
const probeMs = 1000;
/** Grace period after the first reply, in which TURN servers over UDP can reply too. */
const graceMs = 100;
/** Without any reply by then, the servers on TCP are probed as well. */
const tcpAfterMs = 300;
/** A server that replies over TCP, although probed later, would have replied over UDP by then. */
const tcpDecidesMs = 600;
/** How long the findings of a probe are trusted: a machine moves between networks. */
const freshMs = 30_000;
/** libjuice accepts no more. */
const maxTurnServers = 2;

interface Findings {
  readonly udpWorks: boolean;
  /** Fastest first. */
  readonly answered: readonly IceServer[];
}

/**
 * Returns the servers for node-datachannel, which takes one STUN server and at most two TURN servers, the latter through bridges on
 * loopback.
 */
export function openNodeIce(servers: readonly IceServer[], options: NodeIceOptions = {}): IceAccess {
  return new NodeIce(servers, options);
}

class NodeIce implements IceAccess {
  readonly #clock: Clock;
  readonly #log: Log | undefined;
  readonly #turnCa: string | undefined;
  readonly #stun: readonly IceServer[];
  readonly #turnUdp: readonly IceServer[];
  readonly #turnTcp: readonly IceServer[];
  readonly #bridges = new Map<IceServer, TurnBridge>();
  readonly #stops = new Set<() => void>();
  #findings: Promise<Findings> | undefined;
  #freshUntil = 0;
  #closed = false;

  constructor(servers: readonly IceServer[], options: NodeIceOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log;
    this.#turnCa = options.turnCa;
    this.#stun = servers.filter((server) => server.kind === 'stun');
    this.#turnUdp = servers.filter((server) => server.kind === 'turn' && server.transport === 'udp');
    this.#turnTcp = servers.filter((server) => server.transport !== 'udp');
    if (this.#needsProbe) void this.#probed(); // Started early, so that it is done when the first connection is made.
  }

  async servers({ peerRelays = false }: { readonly peerRelays?: boolean } = {}): Promise<RTCIceServer[]> {
    if (!this.#needsProbe) {
      if (peerRelays) return this.#reflexive(this.#stun, this.#turnUdp);
      return [...this.#stun.map(toRtcIceServer), ...(await this.#bridged(this.#turnUdp.slice(0, maxTurnServers)))];
    }
    const { udpWorks, answered } = await this.#probed();
    const respondingFirst = (list: readonly IceServer[]) => [
      ...answered.filter((server) => list.includes(server)),
      ...list.filter((server) => !answered.includes(server)),
    ];
    // If nothing could be probed over UDP, nothing is known about it, and a direct path is tried anyway.
    if (!udpWorks) return this.#bridged(respondingFirst(this.#turnTcp).slice(0, maxTurnServers));
    if (peerRelays) return this.#reflexive(respondingFirst(this.#stun), respondingFirst(this.#turnUdp));
    const turn = respondingFirst(this.#turnUdp).slice(0, maxTurnServers);
    const relays = turn.some((server) => answered.includes(server)) ? [] : respondingFirst(this.#turnTcp);
    return [
      ...respondingFirst(this.#stun).slice(0, 1).map(toRtcIceServer),
      ...(await this.#bridged([...relays.slice(0, 1), ...turn].slice(0, maxTurnServers))),
    ];
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stops) stop();
    for (const bridge of this.#bridges.values()) bridge.close();
    this.#bridges.clear();
  }

  /** No relay, only our own address, without which the peer's relay drops our packets. TURN servers reply to STUN as well. */
  #reflexive(stun: readonly IceServer[], turn: readonly IceServer[]): RTCIceServer[] {
    return [...stun, ...turn.map(({ host, port }) => ({ kind: 'stun', transport: 'udp', host, port }) as const)]
      .slice(0, 1)
      .map(toRtcIceServer);
  }

  get #needsProbe(): boolean {
    return this.#stun.length > 1 || this.#turnTcp.length > 0;
  }

  async #bridged(servers: readonly IceServer[]): Promise<RTCIceServer[]> {
    if (this.#closed) return [];
    const bridged = servers.map(async (server) => {
      let bridge = this.#bridges.get(server);
      if (bridge === undefined) {
        bridge = new TurnBridge(server, { ca: this.#turnCa });
        this.#bridges.set(server, bridge);
      }
      const local: IceServer = { ...server, transport: 'udp', host: '127.0.0.1', port: await bridge.port };
      return toRtcIceServer(local);
    });
    return Promise.all(bridged);
  }

  /** Concurrent callers share one probe. */
  #probed(): Promise<Findings> {
    if (this.#findings === undefined || this.#clock.now() >= this.#freshUntil) {
      this.#freshUntil = Number.POSITIVE_INFINITY;
      this.#findings = this.#probe();
    }
    return this.#findings;
  }

  #probe(): Promise<Findings> {
    const udpServers = [...this.#stun, ...this.#turnUdp];
    if (udpServers.length === 0 && this.#turnTcp.length <= maxTurnServers) return Promise.resolve({ udpWorks: false, answered: [] });
    return new Promise((resolve) => {
      const answered: IceServer[] = [];
      const timers: Timer[] = [];
      const stops: (() => void)[] = [];
      const beganAt = this.#clock.now();
      let udpWorks = false;
      const finish = () => {
        if (!this.#stops.delete(finish)) return;
        for (const timer of timers) timer.cancel();
        for (const stop of stops) stop();
        this.#log?.debug('ICE servers probed', { udp: udpWorks, answered: answered.map(formatIceUrl).join(' ') });
        this.#freshUntil = this.#clock.now() + freshMs;
        resolve({ udpWorks, answered });
      };
      this.#stops.add(finish);
      const onReply = (server: IceServer) => {
        answered.push(server);
        if (server.transport !== 'udp') {
          timers.push(this.#clock.after(Math.max(0, beganAt + tcpDecidesMs - this.#clock.now()), () => udpWorks || finish()));
          return;
        }
        if (!udpWorks) timers.push(this.#clock.after(graceMs, finish));
        udpWorks = true;
        if (this.#turnUdp.every((turn) => answered.includes(turn))) finish();
      };
      stops.push(askUdp(udpServers, onReply));
      const tcpAt = udpServers.length === 0 ? 0 : tcpAfterMs;
      timers.push(this.#clock.after(tcpAt, () => void (udpWorks || stops.push(askTcp(this.#turnTcp, onReply)))));
      timers.push(this.#clock.after(probeMs, finish));
    });
  }
}
