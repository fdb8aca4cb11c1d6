import SimplePeer from 'simple-peer';
import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import type { Link } from '../link.js';
import type { EngineChannel, EngineConnection, WebRtcEngine } from './engine.js';
import { candidatesOf, describeCandidates, fingerprintOf } from './sdp.js';
import { goodbye, MAX_EARLY_MESSAGES, WebRtcLink } from './webrtc-link.js';

export interface AttemptSettings {
  readonly initiator: boolean;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
}

/** Limit for an engine that never reports that gathering is complete (`@roamhq/wrtc` with a dead server). */
const gatherTimeoutMs = 1500;

/**
 * One attempt to open a link. Gathering: our description is being made (`localSdp`). Waiting: an offer without an answer, for as long as
 * its creator likes. Connecting: both descriptions are known and the time limit runs. Then it is over: either open, and the link owns the
 * peer; or failed, the peer is destroyed and `opened` rejected. Once open, the attempt only forwards the peer's events to the link.
 */
export class Attempt {
  readonly localSdp: Promise<string>;
  readonly opened: Promise<Link>;
  readonly #settings: AttemptSettings;
  readonly #servers: readonly RTCIceServer[];
  readonly #peer: SimplePeer.Instance;
  readonly #early: (Uint8Array | typeof goodbye)[] = [];
  #connection: EngineConnection | undefined;
  #channel: EngineChannel | undefined;
  #link: WebRtcLink | undefined;
  #local: string | undefined;
  #remote: string | undefined;
  #timer: Timer | undefined;
  /** ICE has found a path; the DTLS handshake and the channel follow. */
  #pathFound = false;
  #over = false;
  #resolveLocal: (sdp: string) => void = () => {};
  #rejectLocal: (error: PeerworkError) => void = () => {};
  #resolveOpened: (link: Link) => void = () => {};
  #rejectOpened: (error: PeerworkError) => void = () => {};

  constructor(engine: WebRtcEngine, servers: readonly RTCIceServer[], settings: AttemptSettings) {
    this.#settings = settings;
    this.#servers = servers;
    this.localSdp = new Promise((resolve, reject) => {
      this.#resolveLocal = resolve;
      this.#rejectLocal = reject;
    });
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve;
      this.#rejectOpened = reject;
    });
    // A caller that cancels need not handle the rejections.
    this.localSdp.catch(() => {});
    this.opened.catch(() => {});
    this.#peer = new SimplePeer({
      wrtc: this.#watched(engine) as NonNullable<SimplePeer.Options['wrtc']>,
      initiator: settings.initiator,
      trickle: false,
      iceCompleteTimeout: gatherTimeoutMs,
      objectMode: true, // one chunk per message
      config: { iceServers: [...servers] },
    });
    this.#listen();
  }

  setRemote(type: 'offer' | 'answer', sdp: string): void {
    if (this.#over) return;
    this.#remote = sdp;
    this.#timer = this.#settings.clock.after(this.#settings.connectTimeoutMs, () => this.#timedOut());
    this.#peer.signal({ type, sdp });
  }

  cancel(): void {
    this.#fail(new PeerworkError('link-closed'));
  }

  /** Wraps the engine for simple-peer in order to capture the connection and the channel that it creates. */
  #watched(engine: WebRtcEngine): unknown {
    const watch = (config?: RTCConfiguration) => {
      const connection = new engine.RTCPeerConnection(config);
      const create = connection.createDataChannel.bind(connection);
      connection.createDataChannel = (label, options) => {
        this.#channel = create(label, options);
        return this.#channel;
      };
      connection.addEventListener('datachannel', ({ channel }) => {
        this.#channel = channel;
      });
      this.#connection = connection;
      return connection;
    };
    // A plain function, because `new` on it has to return the connection itself.
    function RTCPeerConnection(config?: RTCConfiguration) {
      return watch(config);
    }
    return { RTCPeerConnection, RTCSessionDescription: engine.RTCSessionDescription, RTCIceCandidate: engine.RTCIceCandidate };
  }

  #listen(): void {
    const peer = this.#peer;
    peer.on('signal', (data) => {
      if (!('sdp' in data) || data.sdp === undefined || this.#local !== undefined) return;
      this.#local = data.sdp;
      this.#resolveLocal(data.sdp);
    });
    peer.on('iceStateChange', (state: string) => {
      if (state === 'connected' || state === 'completed') this.#pathFound = true;
    });
    peer.on('data', (data: unknown) => {
      if (data !== goodbye && !(data instanceof Uint8Array)) this.#ended(new PeerworkError('link-lost', 'the peer sent a text message'));
      else if (this.#link === undefined) {
        if (this.#early.push(data) > MAX_EARLY_MESSAGES)
          this.#ended(new PeerworkError('link-lost', 'the peer sent too much before the link was up'));
      } else this.#link.received(data);
    });
    peer.once('connect', () => void this.#connected());
    // Which of these simple-peer emits depends on who ends it and how, so the first one counts.
    peer.on('error', (error: Error & { code?: string }) => this.#ended(this.#explain(error)));
    peer.on('close', () => this.#ended(new PeerworkError('link-closed')));
    peer.on('end', () => this.#ended(new PeerworkError('link-closed')));
  }

  async #connected(): Promise<void> {
    const path = await this.#selectedPath();
    const { clock } = this.#settings;
    if (this.#over || this.#channel === undefined || this.#local === undefined || this.#remote === undefined) return;
    const fingerprints = { local: fingerprintOf(this.#local), remote: fingerprintOf(this.#remote) };
    this.#over = true;
    this.#timer?.cancel();
    this.#link = new WebRtcLink(
      this.#peer,
      this.#channel,
      { fingerprints, path, readPath: () => this.#selectedPath() },
      this.#early,
      clock,
    );
    this.#resolveOpened(this.#link);
  }

  #ended(reason: PeerworkError): void {
    if (this.#link !== undefined) this.#link.ended(reason);
    else this.#fail(reason.code === 'link-closed' ? new PeerworkError('ice-failed', 'the peer gave up') : reason);
  }

  #fail(reason: PeerworkError): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#peer.destroy();
    this.#rejectLocal(reason);
    this.#rejectOpened(reason);
  }

  #timedOut(): void {
    this.#fail(
      this.#pathFound ? new PeerworkError('link-timeout') : this.#iceFailed(`nothing got through in ${this.#settings.connectTimeoutMs} ms`),
    );
  }

  #explain(error: Error & { code?: string }): PeerworkError {
    const { code = '', message } = error;
    if (this.#link !== undefined)
      return code === 'ERR_ICE_CONNECTION_CLOSED'
        ? new PeerworkError('link-closed')
        : new PeerworkError('link-lost', message, { cause: error });
    if (code === 'ERR_SET_REMOTE_DESCRIPTION') return new PeerworkError('signal-malformed', message, { cause: error });
    if (code.startsWith('ERR_ICE_CONNECTION') || code === 'ERR_CONNECTION_FAILURE')
      return this.#pathFound ? new PeerworkError('dtls-failed', 'the DTLS handshake failed') : this.#iceFailed('no path was found');
    return new PeerworkError(code === 'ERR_DATA_CHANNEL' ? 'link-lost' : 'internal', message, { cause: error });
  }

  /** Explains which step failed: the candidates of each side, and which servers were of use. */
  #iceFailed(what: string): PeerworkError {
    const local = candidatesOf(this.#local ?? '').map((candidate) => candidate.kind);
    const urls = this.#servers.flatMap((server) => server.urls);
    const hasServer = (scheme: string) => urls.some((url) => url.startsWith(scheme));
    const stun = !hasServer('stun:') ? 'no STUN server' : local.includes('srflx') ? 'STUN answered' : 'no new address from STUN';
    const turn = !hasServer('turn') ? 'no TURN server' : local.includes('relay') ? 'TURN answered' : 'no relay from TURN';
    const sides = `candidates here ${describeCandidates(this.#local)}, there ${describeCandidates(this.#remote)}`;
    // Loopback addresses are offered only if there are no others.
    const onlyLoopback = this.#local !== undefined && candidatesOf(this.#local).every(({ address }) => /^(?:127\.|::1$|$)/.test(address));
    return new PeerworkError(onlyLoopback ? 'network-absent' : 'ice-failed', `${what}; ${sides}; ${stun}, ${turn}`);
  }

  /**
   * A relay of the other side appears as `prflx` if its packets arrived before its candidate, or if the candidate was too late for the
   * description: then it shares at least its address with another relay of that side.
   */
  async #selectedPath(): Promise<Link['path']> {
    const report = new Map<string, Record<string, unknown>>();
    try {
      for (const [id, entry] of (await this.#connection?.getStats()) ?? []) report.set(id, entry as Record<string, unknown>);
    } catch {
      return 'unknown';
    }
    const entries = [...report.values()];
    const selected = entries.find((entry) => entry['type'] === 'transport')?.['selectedCandidatePairId'];
    // Firefox has no transport entry but marks the pair.
    const pair = typeof selected === 'string' ? report.get(selected) : entries.find((entry) => entry['selected'] === true);
    const local = report.get(String(pair?.['localCandidateId']));
    const remote = report.get(String(pair?.['remoteCandidateId']));
    if (local === undefined || remote === undefined) return 'unknown';
    if (local['candidateType'] === 'relay' || remote['candidateType'] === 'relay') return 'relay';
    if (remote['candidateType'] !== 'prflx') return 'direct';
    const relays = candidatesOf(this.#remote ?? '').filter(({ kind }) => kind === 'relay');
    return relays.some(({ address }) => address === (remote['address'] ?? remote['ip'])) ? 'relay' : 'direct';
  }
}
