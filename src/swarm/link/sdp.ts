/**
 * The few things that a link has to know about a session description (SDP). Descriptions of the other side are hostile input: they passed
 * a tracker that anybody may run.
 */
import { PeerworkError } from '../../errors.js';

/** Real ones are 0.5 to 3 KB. */
const maxSdpBytes = 16 * 1024;
/** Limits the addresses to which the engine sends checks; no real machine has more candidates. */
const maxCandidates = 40;

const candidateKinds = ['host', 'srflx', 'prflx', 'relay'] as const;
export type CandidateKind = (typeof candidateKinds)[number];

export interface Candidate {
  /** The whole line without `a=`. */
  readonly line: string;
  readonly kind: CandidateKind;
  readonly address: string;
  readonly port: number;
}

/**
 * Returns the description, without candidates that name a host instead of an address. Throws `signal-malformed` unless it describes a
 * data channel of one peer with one certificate.
 */
export function checkSdp(sdp: unknown): string {
  if (typeof sdp !== 'string') throw new PeerworkError('signal-malformed', 'not a text');
  if (sdp.length > maxSdpBytes) throw new PeerworkError('signal-malformed', `${sdp.length} bytes`);
  if (!sdp.startsWith('v=0') || !/^m=application .*webrtc-datachannel/m.test(sdp))
    throw new PeerworkError('signal-malformed', 'no data channel');
  if (!/^a=ice-ufrag:\S/m.test(sdp) || !/^a=ice-pwd:\S/m.test(sdp)) throw new PeerworkError('signal-malformed', 'no ICE credentials');
  fingerprintOf(sdp);
  const lines = sdp.split(/\r?\n/);
  const kept = lines.filter((line) => !line.startsWith('a=candidate:') || isUsable(line));
  if (kept.filter((line) => line.startsWith('a=candidate:')).length > maxCandidates)
    throw new PeerworkError('signal-malformed', 'too many candidates');
  return kept.join('\r\n');
}

/**
 * Returns the SHA-256 fingerprint `AB:CD:…` in upper case. All fingerprints in the description have to be the same, so that the one
 * proven in the handshake is the one the engine checks, whichever line it reads.
 */
export function fingerprintOf(sdp: string): string {
  const found = new Set<string>();
  for (const line of sdp.split(/\r?\n/)) {
    if (!/^a=fingerprint:/i.test(line)) continue;
    const value = /^a=fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})$/i.exec(line.trim())?.[1];
    if (value === undefined) throw new PeerworkError('signal-malformed', 'a fingerprint that is not SHA-256');
    found.add(value.toUpperCase());
  }
  const [fingerprint, ...others] = found;
  if (fingerprint === undefined || others.length > 0) throw new PeerworkError('signal-malformed', `${found.size} certificate fingerprints`);
  return fingerprint;
}

/** Rewrites an offer as if its sender wanted to be the DTLS client (RFC 8842), which makes the answerer the server. */
export function asDtlsClient(offerSdp: string): string {
  return offerSdp.replace(/^a=setup:actpass(\r?)$/m, 'a=setup:active$1');
}

/** Whether the sender of this description wants to be the DTLS client, which makes its receiver the server. */
export function isDtlsClient(sdp: string): boolean {
  return /^a=setup:active\r?$/m.test(sdp);
}

export function candidatesOf(sdp: string): Candidate[] {
  const candidates: Candidate[] = [];
  for (const line of sdp.split(/\r?\n/)) {
    const candidate = line.startsWith('a=candidate:') ? parseCandidate(line.slice(2)) : undefined;
    if (candidate !== undefined) candidates.push(candidate);
  }
  return candidates;
}

/** `candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ KIND …` (RFC 8839). */
export function parseCandidate(line: string): Candidate | undefined {
  const match = /^candidate:\S+ \d+ \S+ \d+ (\S+) (\d+) typ (\S+)/i.exec(line);
  const [, address, port, kind] = match ?? [];
  if (address === undefined || port === undefined || !candidateKinds.includes(kind as CandidateKind)) return undefined;
  return { line, kind: kind as CandidateKind, address, port: Number(port) };
}

/** Returns the description without its candidates, and the candidates. */
export function splitCandidates(sdp: string): { bare: string; candidates: string[] } {
  const lines = sdp.split(/\r?\n/);
  return {
    bare: lines.filter((line) => !line.startsWith('a=candidate:') && !line.startsWith('a=end-of-candidates')).join('\r\n'),
    candidates: lines.filter((line) => line.startsWith('a=candidate:')).map((line) => line.slice(2)),
  };
}

/** Returns a summary such as `host+srflx`, or `none`. */
export function describeCandidates(sdp: string | undefined): string {
  const kinds = new Set(candidatesOf(sdp ?? '').map((candidate) => candidate.kind));
  return candidateKinds.filter((kind) => kinds.has(kind)).join('+') || 'none';
}

/**
 * A host name would make the engine look up whatever a stranger likes in the DNS; browsers hide LAN addresses behind `.local` names,
 * which are kept.
 */
function isUsable(line: string): boolean {
  const candidate = parseCandidate(line.slice(2));
  return (
    candidate !== undefined &&
    (/^[\d.]+$/.test(candidate.address) || candidate.address.includes(':') || candidate.address.endsWith('.local'))
  );
}
