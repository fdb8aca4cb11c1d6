import type { DataChannel, PeerConnection, RtcConfig } from 'node-datachannel';
import { NodeDataChannel, safely } from './data-channel.node.js';
import type { WebRtcEngine } from './engine.js';
import { Gathering } from './gathering.node.js';
import { helloGate } from './hello-gate.node.js';
import { library } from './native-library.node.js';
import { type CandidateKind, candidatesOf, isDtlsClient, parseCandidate, splitCandidates } from './sdp.js';

/**
 * How long after its answer the answerer adds the offer's candidates. Meanwhile the library queries the STUN server, which each remote
 * candidate would delay by 50 ms. Without a server it is enough to come after the answer, which avoids the library's race between
 * description and candidates ("remote candidate without ICE transport").
 */
const candidateDelayWithServersMs = 40;
const candidateDelayMs = 0;

/** From the event `connected` until DTLS has certainly started. */
const gateMs = 20;

/** Returns an engine for `new SimplePeer({ wrtc })` over node-datachannel. Engines share one native library. */
export function createNodeEngine(): WebRtcEngine {
  library.load();
  return { RTCPeerConnection: NodePeerConnection, RTCSessionDescription: SessionDescription, RTCIceCandidate: IceCandidate };
}

/** Returns how many connections the process holds; for tests and metrics. */
export function openConnections(): number {
  return library.connections;
}

/**
 * RTCPeerConnection as far as data channels need it. Candidates are not trickled: they are in `localDescription` when `onicecandidate` is
 * called with null, the early end of gathering.
 */
class NodePeerConnection {
  onicecandidate: ((event: { readonly candidate: null }) => void) | null = null;
  onicegatheringstatechange: (() => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  onsignalingstatechange: (() => void) | null = null;
  ondatachannel: ((event: { readonly channel: NodeDataChannel }) => void) | null = null;
  ontrack: (() => void) | null = null;
  readonly #native: PeerConnection;
  /** Strong references: a wrapper that is garbage-collected takes its native channel with it, which then never opens. */
  readonly #channels = new Set<NodeDataChannel>();
  readonly #channelListeners = new Set<(event: { readonly channel: NodeDataChannel }) => void>();
  readonly #gathering: Gathering;
  readonly #candidateDelayMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Remote candidates that wait for the remote description, or for our answer to be sent. */
  #pendingCandidates: IceCandidate[] = [];
  #acceptsCandidates = false;
  #remote: SessionDescription | null = null;
  /** As last reported by the library's events; its getters may be ahead of them. */
  #state = 'new';
  #iceState = 'new';
  #gathered = false;
  #gatePort: number | undefined;
  #closed = false;

  constructor(config: RTCConfiguration = {}) {
    const iceServers = nativeServers(config.iceServers ?? []);
    const awaited: CandidateKind[] = [];
    if (iceServers.length > 0) awaited.push('srflx');
    if (iceServers.some((server) => typeof server === 'object')) awaited.push('relay');
    this.#candidateDelayMs = iceServers.length > 0 ? candidateDelayWithServersMs : candidateDelayMs;
    this.#gathering = new Gathering(awaited, () => this.#endOfCandidates());
    this.#native = library.connect({
      iceServers,
      iceTransportPolicy: config.iceTransportPolicy ?? 'all',
      disableAutoNegotiation: true,
    });
    this.#listen();
  }

  get connectionState(): string {
    return this.#closed ? 'closed' : this.#state;
  }

  get iceConnectionState(): string {
    return this.#closed ? 'closed' : this.#iceState;
  }

  get iceGatheringState(): string {
    return this.#gathered ? 'complete' : 'gathering';
  }

  get signalingState(): string {
    return this.#closed ? 'closed' : this.#native.signalingState();
  }

  get localDescription(): SessionDescription | null {
    const description = this.#closed ? null : this.#native.localDescription();
    return description === null ? null : new SessionDescription(description as RTCSessionDescriptionInit);
  }

  get remoteDescription(): SessionDescription | null {
    return this.#remote;
  }

  addEventListener(type: 'datachannel', listener: (event: { readonly channel: NodeDataChannel }) => void): void {
    if (type === 'datachannel') this.#channelListeners.add(listener);
  }

  createDataChannel(label: string, options: RTCDataChannelInit = {}): NodeDataChannel {
    return this.#adopt(this.#native.createDataChannel(label, { unordered: options.ordered === false }));
  }

  /** The library makes the description itself, in setLocalDescription. */
  createOffer(): Promise<{ type: 'offer'; sdp: string }> {
    return Promise.resolve({ type: 'offer', sdp: '' });
  }

  createAnswer(): Promise<{ type: 'answer'; sdp: string }> {
    return Promise.resolve({ type: 'answer', sdp: '' });
  }

  async setLocalDescription(description: { readonly type: 'offer' | 'answer' }): Promise<void> {
    this.#assertOpen();
    this.#gathering.start();
    this.#native.setLocalDescription(description.type);
  }

  async setRemoteDescription(description: SessionDescription): Promise<void> {
    this.#assertOpen();
    const { bare, candidates } = splitCandidates(description.sdp);
    this.#native.setRemoteDescription(bare, description.type);
    this.#remote = description;
    this.#pendingCandidates.push(...candidates.map((candidate) => new IceCandidate({ candidate })));
    const kick = isDtlsClient(description.sdp) ? library.kicker.candidate() : undefined;
    if (kick !== undefined) this.#pendingCandidates.push(new IceCandidate({ candidate: kick }));
    // Candidates of an offer are added after the answer was sent.
    if (description.type === 'answer') this.#addPendingCandidates();
  }

  async addIceCandidate(candidate: IceCandidate): Promise<void> {
    this.#assertOpen();
    if (candidate.candidate === '') return;
    this.#pendingCandidates.push(candidate);
    if (this.#acceptsCandidates) this.#addPendingCandidates();
  }

  /** Reports only the selected pair, in the format of W3C; empty before there is one. */
  async getStats(): Promise<Map<string, object>> {
    const report = new Map<string, object>();
    const pair = this.#closed ? null : this.#native.getSelectedCandidatePair();
    if (pair === null) return report;
    const add = (id: string, type: string, fields: object) => report.set(id, { id, type, timestamp: Date.now(), ...fields });
    add('L', 'local-candidate', { candidateType: pair.local.type, address: pair.local.address, port: pair.local.port });
    add('R', 'remote-candidate', { candidateType: pair.remote.type, address: pair.remote.address, port: pair.remote.port });
    add('P', 'candidate-pair', { localCandidateId: 'L', remoteCandidateId: 'R', nominated: true, state: 'succeeded' });
    add('T', 'transport', { selectedCandidatePairId: 'P' });
    return report;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gathering.stop();
    for (const timer of this.#timers) clearTimeout(timer);
    if (this.#gatePort !== undefined) helloGate.forget(this.#gatePort);
    library.disconnect(this.#native);
    this.#channels.clear();
  }

  #listen(): void {
    const native = this.#native;
    native.onLocalCandidate(
      safely((line) => {
        const candidate = parseCandidate(line.replace(/^a=/, ''));
        if (candidate !== undefined && !this.#closed) this.#gathering.saw(candidate.kind);
      }),
    );
    native.onGatheringStateChange(
      safely((state) => {
        if (state === 'complete' && !this.#closed) this.#gathering.finish();
      }),
    );
    native.onIceStateChange(safely((state) => this.#setIceState(state)));
    native.onStateChange(
      safely((state) => {
        if (this.#closed) return;
        this.#state = state;
        this.onconnectionstatechange?.();
        // When the other side ends the connection, the ICE state's last event is swallowed more often than not.
        if (state === 'closed') this.#setIceState('closed');
      }),
    );
    native.onSignalingStateChange(
      safely(() => {
        if (!this.#closed) this.onsignalingstatechange?.();
      }),
    );
    native.onDataChannel(
      safely((channel) => {
        if (this.#closed) return;
        const event = { channel: this.#adopt(channel) };
        this.ondatachannel?.(event);
        for (const listener of this.#channelListeners) listener(event);
      }),
    );
  }

  #setIceState(state: string): void {
    if (this.#closed || this.#iceState === state) return;
    this.#iceState = state;
    if (state === 'connected' || state === 'completed') {
      this.#openGate();
      this.#kick();
    }
    this.oniceconnectionstatechange?.();
  }

  #adopt(native: DataChannel): NodeDataChannel {
    const channel = new NodeDataChannel(native);
    this.#channels.add(channel);
    return channel;
  }

  #endOfCandidates(): void {
    this.#gathered = true;
    this.onicegatheringstatechange?.();
    this.onicecandidate?.({ candidate: null });
    if (this.#remote?.type === 'offer') this.#schedule(this.#candidateDelayMs, () => this.#addPendingCandidates());
  }

  #addPendingCandidates(): void {
    if (this.#closed) return;
    this.#acceptsCandidates = true;
    const candidates = this.#pendingCandidates;
    this.#pendingCandidates = [];
    for (const { candidate, sdpMid } of candidates) {
      try {
        this.#native.addRemoteCandidate(candidate, sdpMid);
      } catch {
        // One bad candidate is no reason to give up the others.
      }
    }
  }

  /** Delayed, because the event comes a moment before the library starts DTLS. */
  #openGate(): void {
    if (this.#gatePort !== undefined) return;
    const port = this.#hostPort();
    if (port === undefined) return;
    this.#gatePort = port;
    this.#schedule(gateMs, () => helloGate.open(port));
  }

  /** Only for the DTLS server, and only once. */
  #kick(): void {
    if (!isDtlsClient(this.#remote?.sdp ?? '') || this.#native.state() === 'connected') return;
    const port = this.#hostPort();
    if (port !== undefined) library.kicker.start(port, () => this.#closed || this.#native.state() === 'connected');
  }

  #hostPort(): number | undefined {
    return candidatesOf(this.#native.localDescription()?.sdp ?? '').find(({ kind }) => kind === 'host')?.port;
  }

  #schedule(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('the connection is closed');
  }
}

class SessionDescription {
  readonly type: 'offer' | 'answer';
  readonly sdp: string;

  constructor(init: RTCSessionDescriptionInit) {
    this.type = init.type === 'answer' ? 'answer' : 'offer';
    this.sdp = init.sdp ?? '';
  }
}

class IceCandidate {
  readonly candidate: string;
  readonly sdpMid: string;

  constructor(init: RTCIceCandidateInit) {
    this.candidate = init.candidate ?? '';
    this.sdpMid = init.sdpMid ?? '0';
  }

  get address(): string | undefined {
    return parseCandidate(this.candidate)?.address;
  }
}

/** Drops TURN over TCP or TLS, which the library does not support: the bridge in `openIce` provides a UDP address instead. */
function nativeServers(servers: readonly RTCIceServer[]): RtcConfig['iceServers'] {
  const found: RtcConfig['iceServers'] = [];
  for (const { urls, username, credential } of servers) {
    for (const url of typeof urls === 'string' ? [urls] : urls) {
      const match = /^(stun|turn):(\[[^\]]+\]|[^:]+):(\d+)(?:\?transport=(\w+))?$/.exec(url);
      const [, scheme, host = '', port, transport = 'udp'] = match ?? [];
      // As separate fields: as text the library parses no IPv6 address.
      if (scheme === 'stun') found.push({ hostname: host.replace(/^\[|\]$/g, ''), port: Number(port) });
      else if (scheme === 'turn' && transport === 'udp')
        found.push({
          hostname: host.replace(/^\[|\]$/g, ''),
          port: Number(port),
          username: username ?? '',
          password: credential ?? '',
          relayType: 'TurnUdp',
        });
    }
  }
  return found;
}
