import nacl from 'tweetnacl';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { parseJson as parse } from '../kit/json.js';
import { conceal } from '../log.js';
import { equalBytes, fromBase64url, fromUtf8, joinBytes, toBase64url, toHex, toUtf8 } from './bytes.js';
import { KEY_BYTES, type Primitives } from './crypto.js';

/**
 * What a peer needs to join a swarm. Anyone who holds it may request to join; only the holder of the Master's private key can be the
 * Master.
 *
 * As text: `pw1.` + base64url of
 * | bytes | meaning |
 * |---|---|
 * | 1 | version, 1 |
 * | 2 | total length, checksum included, big-endian; distinguishes a truncated token from a mistyped one |
 * | 32 | Ed25519 public key of the Master |
 * | 32 | secret |
 * | rest | JSON `{ trackers?, ice? }`, or nothing |
 * | 4 | checksum: the first bytes of the SHA-512 of everything before it (tweetnacl's hash, so that parsing needs no Primitives) |
 */
export interface Token {
  readonly publicKey: Uint8Array;
  readonly secret: Uint8Array;
  /** `ws:` and `wss:` URLs; empty for the default ones. */
  readonly trackers: readonly string[];
  /** `stun:`, `turn:` and `turns:` URLs; empty for none, undefined for the default ones. */
  readonly ice?: readonly string[] | undefined;
}

export interface TokenInput {
  readonly publicKey: Uint8Array;
  /** 32 bytes; generated if missing. */
  readonly secret?: Uint8Array;
  readonly trackers?: readonly string[];
  /** Undefined for the default ones. */
  readonly ice?: readonly string[] | undefined;
}

/** Number of info hashes over which peers are spread, so that no single peer list of a tracker grows too long. */
export const SHARDS = 8;
export const INFO_HASH_BYTES = 20;

const PREFIX = 'pw1.';
const VERSION = 1;
const HEADER_BYTES = 3;
const CHECKSUM_BYTES = 4;
const SMALLEST_BYTES = HEADER_BYTES + 2 * KEY_BYTES + CHECKSUM_BYTES;
const MAX_TOKEN_CHARS = 8 * 1024;
/** A token is found in a screenful of text, but not searched for in a book. */
const MAX_PASTE_CHARS = 64 * 1024;
const MAX_STARTS = 16;
const MAX_URLS = 16;

const urls = (pattern: RegExp) => v.pipe(v.array(v.pipe(v.string(), v.maxLength(500), v.regex(pattern))), v.maxLength(MAX_URLS));
const extras = v.object({
  trackers: v.optional(urls(/^wss?:\/\/[^\s/]/), []),
  ice: v.optional(urls(/^(stun|turns?):[^\s/]/)),
});

/** Throws `token-malformed` if the input is invalid. */
export function createToken(input: TokenInput, primitives: Primitives): Token {
  const secret = input.secret ?? primitives.randomBytes(KEY_BYTES);
  if (input.publicKey.length !== KEY_BYTES || secret.length !== KEY_BYTES)
    throw new PeerworkError('token-malformed', `a key or secret has not ${KEY_BYTES} bytes`);
  const token = {
    publicKey: input.publicKey,
    secret,
    ...readExtras({ trackers: input.trackers ?? [], ...(input.ice && { ice: input.ice }) }),
  };
  concealToken(token);
  return token;
}

export function formatToken(token: Token): string {
  const { trackers, ice } = token;
  const json = JSON.stringify({ ...(trackers.length > 0 && { trackers }), ...(ice && { ice }) });
  const extra = toUtf8(json === '{}' ? '' : json);
  const length = SMALLEST_BYTES + extra.length;
  const body = joinBytes(header(length), token.publicKey, token.secret, extra);
  const text = PREFIX + toBase64url(joinBytes(body, checksum(body)));
  if (text.length > MAX_TOKEN_CHARS) throw new PeerworkError('token-malformed', 'it holds too many addresses');
  conceal(text);
  return text;
}

/**
 * Parses the token found anywhere in a text, such as a pasted line or command: see `tokenIn`. Throws `token-malformed`, `token-cut`,
 * `token-mistyped` or `token-newer`.
 */
export function parseToken(text: string): Token {
  const found = tokenIn(text);
  const body = readBytes(found.slice(PREFIX.length)).subarray(0, -CHECKSUM_BYTES);
  const json = fromUtf8(body.subarray(HEADER_BYTES + 2 * KEY_BYTES));
  const token = {
    publicKey: body.slice(HEADER_BYTES, HEADER_BYTES + KEY_BYTES),
    secret: body.slice(HEADER_BYTES + KEY_BYTES, HEADER_BYTES + 2 * KEY_BYTES),
    ...readExtras(json === '' ? {} : parseJson(json)),
  };
  conceal(found);
  concealToken(token);
  return token;
}

/**
 * Extracts the bare token from a text: between quotes, after `Token:` or `token=`, in a command line, among other lines, or broken into
 * several by the edge of a terminal, with or without prompts and indents in front. Length and checksum determine where it ends. Throws as
 * `parseToken` does.
 */
export function tokenIn(text: string): string {
  if (text.length > MAX_PASTE_CHARS) throw new PeerworkError('token-malformed', 'it is too long');
  // The edge of a terminal may break the prefix as well.
  const starts = [...text.matchAll(/(?<![\w/.-])p[^\w.]{0,8}w[^\w.]{0,8}1[^\w.]{0,8}\./g)].slice(0, MAX_STARTS);
  let why: unknown;
  for (const { 0: prefix, index } of starts) {
    for (const candidate of candidatesIn(text.slice(index + prefix.length))) {
      try {
        readBytes(candidate);
        return PREFIX + candidate;
      } catch (thrown) {
        // Report what is wrong with the first candidate.
        why ??= thrown;
      }
    }
  }
  if (why !== undefined) throw why;
  if (/\bpw([2-9]|[1-9]\d+)\./.test(text)) throw new PeerworkError('token-newer');
  if (/^[\s'"`]*(p|pw|pw1)[\s'"`]*$/.test(text)) throw new PeerworkError('token-cut');
  throw new PeerworkError(
    'token-malformed',
    `it holds no \`${PREFIX}\`; the token of another system is given to its own option: docs/sources/README.md`,
  );
}

/** Returns what may be the token after `pw1.`: first as it is, then without whatever a terminal or mail program put between its lines. */
function candidatesIn(rest: string): readonly string[] {
  const [verbatim = ''] = /^[^\s'"`\\,;)\]}>\p{Cc}]*/u.exec(rest) ?? [];
  // Line by line, because prompts may contain words: the longest run of each line.
  const lines = rest
    .split(/[\r\n]+/)
    .map((line) => line.match(/[\w-]+/g)?.reduce((best, run) => (run.length > best.length ? run : best)) ?? '');
  const joined = [rest.replace(/[^\w-]/g, ''), lines.join('')].flatMap((text) => {
    const start = fromBase64url(text.slice(0, (HEADER_BYTES * 4) / 3));
    const chars = Math.ceil(((((start?.[1] ?? 0) << 8) | (start?.[2] ?? 0)) * 4) / 3);
    return chars > verbatim.length && chars <= MAX_TOKEN_CHARS && text.length >= chars ? [text.slice(0, chars)] : [];
  });
  return [verbatim, ...joined];
}

/** Returns the info hashes under which peers of this token find each other: SHARDS of 20 bytes each. */
export function rendezvousHashes(token: Token, primitives: Primitives): Uint8Array[] {
  return Array.from({ length: SHARDS }, (_, shard) =>
    primitives.hkdfSha256(token.secret, new Uint8Array(0), `peerwork rendezvous ${shard}`, INFO_HASH_BYTES),
  );
}

/** Derives the key whose possession both sides prove in the handshake; 32 bytes. */
export function handshakeKey(token: Token, primitives: Primitives): Uint8Array {
  return primitives.hkdfSha256(token.secret, new Uint8Array(0), 'peerwork handshake', KEY_BYTES);
}

/** Decodes the whole token and verifies version, length and checksum. */
function readBytes(text: string): Uint8Array {
  if (!/^[\w-]*$/.test(text)) throw new PeerworkError('token-mistyped');
  const start = fromBase64url(text.slice(0, (HEADER_BYTES * 4) / 3));
  if (start?.length !== HEADER_BYTES) throw new PeerworkError('token-cut');
  const announced = ((start[1] ?? 0) << 8) | (start[2] ?? 0);
  const bytes = fromBase64url(text);
  if (text.length > MAX_TOKEN_CHARS) throw new PeerworkError('token-malformed', 'it is too long');
  if (start[0] !== VERSION && bytes !== undefined && announced === bytes.length && checksumFits(bytes))
    throw new PeerworkError('token-newer');
  if (text.length < Math.ceil((announced * 4) / 3) && !fitsWithCorrectHeader(bytes)) throw new PeerworkError('token-cut');
  if (bytes === undefined || announced !== bytes.length || !checksumFits(bytes)) throw new PeerworkError('token-mistyped');
  return bytes;
}

/** Whether the token is complete and only its length field mistyped. */
function fitsWithCorrectHeader(bytes: Uint8Array | undefined): boolean {
  if (bytes === undefined) return false;
  const corrected = bytes.slice();
  corrected.set(header(bytes.length));
  return checksumFits(corrected);
}

function checksumFits(bytes: Uint8Array): boolean {
  if (bytes.length < SMALLEST_BYTES) return false;
  return equalBytes(checksum(bytes.subarray(0, -CHECKSUM_BYTES)), bytes.subarray(-CHECKSUM_BYTES));
}

function header(length: number): Uint8Array {
  return new Uint8Array([VERSION, length >> 8, length & 255]);
}

function checksum(body: Uint8Array): Uint8Array {
  return nacl.hash(body).subarray(0, CHECKSUM_BYTES);
}

function parseJson(text: string | undefined): unknown {
  try {
    return parse(text ?? '', { maxBytes: MAX_TOKEN_CHARS, maxDepth: 4 });
  } catch {
    throw new PeerworkError('token-malformed', 'its list of addresses cannot be read');
  }
}

function readExtras(value: unknown): v.InferOutput<typeof extras> {
  const result = v.safeParse(extras, value);
  if (!result.success)
    throw new PeerworkError('token-malformed', 'a tracker must be ws:// or wss://, an ICE server stun:, turn: or turns:');
  return result.output;
}

function concealToken(token: Token): void {
  conceal(toBase64url(token.secret));
  conceal(toHex(token.secret));
  // turn:user:password@host
  for (const url of token.ice ?? []) {
    const credentials = /^turns?:(?:\/\/)?([^@]+)@/.exec(url)?.[1];
    if (credentials !== undefined) conceal(credentials.slice(credentials.indexOf(':') + 1));
  }
}
