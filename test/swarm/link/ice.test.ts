import t from 'tap';
import { defaultIceServers, formatIceUrl, parseIceServers, plainIce, toRtcIceServer } from '../../../src/swarm/link/ice.js';
import { candidatesOf, checkSdp, describeCandidates, fingerprintOf, splitCandidates } from '../../../src/swarm/link/sdp.js';

const print = Array.from({ length: 32 }, (_, at) => at.toString(16).padStart(2, '0')).join(':');
const goodSdp = [
  'v=0',
  'o=- 1 0 IN IP4 127.0.0.1',
  's=-',
  't=0 0',
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  `a=fingerprint:sha-256 ${print}`,
  'a=candidate:1 1 UDP 2122317823 192.168.1.11 40000 typ host',
  'a=candidate:2 1 UDP 1686109951 203.0.113.21 40000 typ srflx raddr 0.0.0.0 rport 0',
  'a=end-of-candidates',
  '',
].join('\r\n');

t.test('ICE servers are read in every spelling', async (t) => {
  const cases: [string, object][] = [
    ['stun:stun.example:19302', { kind: 'stun', transport: 'udp', host: 'stun.example', port: 19302 }],
    ['stun:stun.example', { kind: 'stun', transport: 'udp', host: 'stun.example', port: 3478 }],
    ['stun:[2001:db8::1]:3478', { kind: 'stun', transport: 'udp', host: '2001:db8::1', port: 3478 }],
    ['turn:me:pass@turn.example:80?transport=tcp', turn('tcp', 80)],
    ['turn:me:pass@turn.example?transport=udp', turn('udp', 3478)],
    ['turn:me:pass@turn.example:3478', turn('udp', 3478)],
    ['turns:me:pass@turn.example:443', turn('tls', 443)],
    ['turns:me:pass@turn.example?transport=tcp', turn('tls', 5349)],
    ['turn:me%40home:p%3Aw%25@turn.example:3478', { ...turn('udp', 3478), username: 'me@home', credential: 'p:w%' }],
    ['turn:me:p:w@turn.example:3478', { ...turn('udp', 3478), credential: 'p:w' }],
  ];
  for (const [url, expected] of cases) t.strictSame(parseIceServers([url]), [expected], url);
  const init = { urls: ['turn:turn.example:3478', 'turns:turn.example:443?transport=tcp'], username: 'me', credential: 'pass' };
  t.strictSame(parseIceServers([init]), [turn('udp', 3478), turn('tls', 443)], 'W3C object');
  t.equal(parseIceServers(defaultIceServers).length, defaultIceServers.length);
});

t.test('what cannot be used is refused without showing the password', async (t) => {
  const bad: unknown[] = [
    'http://x',
    'stun:',
    'stun:host:0',
    'stun:host:70000',
    'stun:host:1:2',
    'turn:turn.example:3478',
    'turn:me:hunter2hunter2@turn.example:99999',
    'turns:me:hunter2hunter2@turn.example:443?transport=udp',
    'turn:me:hunter2%@turn.example',
    { urls: 'turn:turn.example', username: 'me' },
    7,
    null,
  ];
  for (const entry of bad) {
    try {
      parseIceServers([entry as string]);
      t.fail(`took ${JSON.stringify(entry)}`);
    } catch (error) {
      t.match(error, { code: 'option-invalid' }, JSON.stringify(entry));
      t.notMatch((error as Error).message, /hunter2/);
    }
  }
});

t.test('servers as an engine wants them', async (t) => {
  const [server] = parseIceServers(['turns:me:pass@turn.example:443']);
  if (server === undefined) throw new Error('no server');
  t.equal(formatIceUrl(server), 'turns:turn.example:443?transport=tcp');
  t.strictSame(toRtcIceServer(server), { urls: 'turns:turn.example:443?transport=tcp', username: 'me', credential: 'pass' });
  t.strictSame(await plainIce(parseIceServers(['stun:[::1]:1'])).servers(), [{ urls: 'stun:[::1]:1' }]);
});

t.test('descriptions', async (t) => {
  t.equal(checkSdp(goodSdp), goodSdp);
  t.equal(fingerprintOf(goodSdp), print.toUpperCase());
  t.equal(describeCandidates(goodSdp), 'host+srflx');
  t.equal(describeCandidates(undefined), 'none');
  t.match(candidatesOf(goodSdp), [{ kind: 'host', address: '192.168.1.11', port: 40000 }, { kind: 'srflx' }]);
  const { bare, candidates } = splitCandidates(goodSdp);
  t.equal(candidatesOf(bare).length, 0);
  t.notMatch(bare, /end-of-candidates/);
  t.equal(candidates.length, 2);
  const named = goodSdp.replace('192.168.1.11', 'metadata.internal').replace('203.0.113.21', 'a1b2.local');
  t.match(candidatesOf(checkSdp(named)), [{ address: 'a1b2.local' }], 'a candidate that names a host is dropped');
});

t.test('hostile descriptions are refused', async (t) => {
  const other = goodSdp.replace(print, print.replace('00', 'ff'));
  const bad: [string, unknown][] = [
    ['no text', 7],
    ['nothing', undefined],
    ['empty', ''],
    ['too long', goodSdp + 'a=x\r\n'.repeat(5000)],
    ['no data channel', goodSdp.replace('m=application', 'm=audio')],
    ['no credentials', goodSdp.replace('a=ice-pwd', 'a=ice-nothing')],
    ['no fingerprint', goodSdp.replace('a=fingerprint', 'a=nothing')],
    ['weak fingerprint', goodSdp.replace('sha-256', 'sha-1')],
    ['two fingerprints', goodSdp + (other.match(/a=fingerprint.*\r\n/)?.[0] ?? '')],
    ['many candidates', goodSdp + 'a=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\n'.repeat(50)],
  ];
  for (const [name, sdp] of bad) t.throws(() => checkSdp(sdp), { code: 'signal-malformed' }, name);
});

function turn(transport: string, port: number): object {
  return { kind: 'turn', transport, host: 'turn.example', port, username: 'me', credential: 'pass' };
}
