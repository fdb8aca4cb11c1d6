import { generateKeyPairSync } from 'node:crypto';
import { PassThrough } from 'node:stream';
import t from 'tap';
import * as v from 'valibot';
import { type InspectedState, inspectedState, readEngineJson } from '../../src/containers/engine-json.js';
import { readExit } from '../../src/containers/exit.js';
import { readFacts } from '../../src/containers/find-engine.js';
import { readActor } from '../../src/crawl/actor.js';
import { readProgress } from '../../src/crawl/progress.js';
import { checkJobInput } from '../../src/job/job-input.js';
import { VALUE_LIMITS } from '../../src/job/limits.js';
import { checked, isMasterArgs, pingArgs, reportArgs, requestWorkAnswer, shareResultsArgs } from '../../src/job/verbs.js';
import { parseJson } from '../../src/kit/json.js';
import { outlineOf } from '../../src/kit/json-outline.js';
import { LineCutter } from '../../src/kit/lines.js';
import { readPayload } from '../../src/ledger/postgres-wake.js';
import { settling } from '../../src/ledger/settling.js';
import { RawOutput } from '../../src/runners/task-module/raw-output.js';
import { readChildLine } from '../../src/runners/task-module/read-child-line.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { whyMalformed } from '../../src/swarm/rendezvous/tracker-rules.js';
import { readTrackerMessage } from '../../src/swarm/rendezvous/wire.js';
import { Kind } from '../../src/swarm/rpc/messages.js';
import { Reader } from '../../src/swarm/rpc/reader.js';
import { parseCall, parseRefusal, parseJson as parseRpc } from '../../src/swarm/rpc/text.js';
import { createToken, formatToken, parseToken } from '../../src/swarm/token.js';
import { canonicalJson } from '../../src/task/canonical-json.js';
import { planInstall } from '../../src/task/install-plan.js';
import { parseManifest } from '../../src/task/manifest.js';
import { dependencyFields } from '../../src/task/package-fields.js';
import { readAcquired } from '../../src/wires/crew/source/task.js';
import { distributedRuns, heartbeatReply, runConfig } from '../../src/wires/dory/source/shapes.js';
import { decodeFrame } from '../../src/wires/openfn/source/frames.js';
import { readPlan } from '../../src/wires/openfn/source/plan.js';
import { Scrubber } from '../../src/wires/openfn/source/scrub.js';
import { runTokenFault } from '../../src/wires/openfn/source/tokens.js';
import { decode, WireFault } from '../../src/wires/queue-xec/protocol/bencode.js';
import { Budget, FrameReader } from '../../src/wires/queue-xec/protocol/frames.js';
import { sha256Of, TransferKey } from '../../src/wires/queue-xec/protocol/transfer.js';
import { openResult, outcomeOf } from '../../src/wires/queue-xec/server/wire-job.js';
import { readAssets } from '../../src/wires/queue-xec/source/assets.js';
import { HeldTask, readClaimed } from '../../src/wires/worqr/source/lease.js';
import { type Door, fuzz, INPUTS } from './doors.js';

const key = new TransferKey('0123456789abcdef0123456789abcdef');
const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const digest = 'a'.repeat(64);
const id20 = 'x'.repeat(20);
const sdp = 'v=0\r\n';
const outcome = { state: 'completed', output: { n: [1, { deep: null }] }, children: [{ ref: 'a', data: 1 }], holdMs: 5 };
const report = { id: 'job', lease: 1, progress: { kind: 'progress', value: { done: 0.5 } } };
const settlement = { id: 'job', lease: 1, outcome, startedAt: 1, finishedAt: 2 };
const work = {
  id: 'j',
  lease: 1,
  channel: 'c',
  data: { a: [1] },
  attempt: 1,
  timeoutMs: 0,
  runner: 'task-module',
  digest,
  parents: [{ id: 'p', channel: 'c', data: 1, output: 2 }],
};
const greeting = {
  version: '1',
  concurrency: 1,
  isolation: 'x',
  platform: 'linux',
  labels: ['os=linux'],
  runners: ['task-module'],
  instance: 'i',
  holding: [{ id: 'a', lease: 1 }],
};
const announce = {
  action: 'announce',
  info_hash: id20,
  peer_id: id20,
  offers: [{ offer_id: id20, offer: { type: 'offer', sdp } }],
  event: 'started',
};
const manifest = canonicalJson({
  format: 1,
  channel: 'c',
  version: 1,
  runner: 'task-module',
  entry: 'task.js',
  dependencies: null,
  files: [{ path: 'task.js', sha256: digest, size: 3, mode: 420 }],
});
const packageJson = { name: 'x', dependencies: { a: '^1.0.0' }, overrides: { b: { c: '1' } } };
const lock = {
  name: 'x',
  lockfileVersion: 3,
  packages: {
    '': { dependencies: { a: '^1.0.0' } },
    'node_modules/a': { version: '1.0.0', integrity: `sha512-${Buffer.alloc(64).toString('base64')}` },
  },
};
const plan = {
  id: 'run',
  jobs: [{ id: 'a', body: 'fn(s => s)', adaptor: '@openfn/language-common@1.0.0', credential: { password: 'geheim' }, state: { a: 1 } }],
  edges: [{ source_job_id: 'a', target_job_id: 'b', condition: 'always' }],
  triggers: [{ id: 't' }],
  options: { run_timeout_ms: 5 },
};
const crewTask = {
  task: { _id: 't1', channel: 'ch', input: { a: 1 }, errors: ['x'], remainingAttempts: 3 },
  parents: [{ _id: 'p', channel: 'ch', input: 1, output: 2 }],
};
const actor = {
  startUrls: ['https://example.org/'],
  maxPages: 10,
  extract: { title: 'h1', price: { selector: '.p', attribute: 'x', many: true } },
  handlers: [{ name: 'h', globs: ['https://example.org/**'], extract: { a: 'b' } }],
};
const rpcTexts = [
  `isMaster\n${JSON.stringify(greeting)}`,
  `shareResults\n${JSON.stringify({ results: [settlement] })}`,
  `report\n${JSON.stringify({ reports: [report] })}`,
];
const verbs = { isMaster: isMasterArgs, shareResults: shareResultsArgs, report: reportArgs, ping: pingArgs } as const;
const base64 = (value: string) => Buffer.from(value).toString('base64url');
const wireFault = (thrown: unknown) => thrown instanceof WireFault;

const stateOf = (state: InspectedState | undefined) => (state === undefined ? undefined : readExit(state, false));
const token = formatToken(
  createToken({ publicKey: new Uint8Array(32), secret: new Uint8Array(32), trackers: ['wss://t.example/'], ice: [] }, nodePrimitives),
);
const cutter = new LineCutter(8 * 1024 * 1024);
const told: unknown[] = [];
let now = 0;
const output = new RawOutput(
  [null, null],
  new PassThrough(),
  () => now,
  (progress) => void (told.length < 100 && told.push(progress)),
);
const tracked = new Set<string>();

const doors: readonly [Door, ...Door[]] = [
  {
    name: 'the pipe of a child process',
    share: 4,
    samples: [
      ['completed', 1, 0.5, outcome.output],
      ['completed', 1, 0.5, 1, { children: [{ data: 1 }], childrenDelayMs: 5, holdMs: 1 }],
      [
        'failed',
        1,
        0.5,
        'task-threw',
        'no',
        true,
        5,
        { name: 'TypeError', message: 'no', code: 'E', cause: { message: 'why' }, parts: [] },
      ],
      ['report', 1, [report.progress, { kind: 'log', stream: 'log', line: 'x' }]],
      ['unloadable', 'message', null],
      ['ready'],
    ],
    enter({ bytes }) {
      now += 1;
      output.tick();
      for (const { text } of cutter.take(Buffer.concat([bytes, Buffer.from('\n')]))) {
        if (text === undefined) continue;
        const line = readChildLine(text);
        if (typeof line === 'string') continue;
        if (line[0] === 'report') output.take(line[2], text.length);
        return line;
      }
      return undefined;
    },
  },
  {
    name: 'calls and notes of a peer',
    share: 4,
    samples: rpcTexts as [string, ...string[]],
    enter({ text }) {
      const { verb, args } = parseCall(text);
      const schema = Object.hasOwn(verbs, verb) ? verbs[verb as keyof typeof verbs] : undefined;
      return schema === undefined ? undefined : checked(schema, args);
    },
  },
  { name: 'work that a Master hands out', samples: [{ work: [work] }], enter: ({ text }) => checked(requestWorkAnswer, parseRpc(text)) },
  {
    name: 'refusals of a peer',
    samples: ['rpc-invalid\nno', 'constructor\n'],
    enter: ({ text }) => (parseRefusal(text).code === 'rpc-failed' ? undefined : 1),
  },
  {
    name: 'frames of a peer that holds the keys',
    samples: [''],
    enter({ text, random }) {
      const payload = Buffer.from(text || rpcTexts[0] || '').subarray(0, 30_000);
      const head = Buffer.alloc(8);
      head[0] = random.below(3) === 0 ? random.below(20) : random.pick([Kind.call, Kind.note, Kind.answer]);
      head[1] = random.below(20) === 0 ? random.below(3) : 0;
      head.writeUInt32BE(random.below(5), 2);
      head.writeUInt16BE(random.below(10) === 0 ? random.below(65_536) : payload.length, 6);
      let heard = 0;
      const hear = () => {
        heard += 1;
      };
      new Reader({ text: hear, data: hear, credit: hear, bare: hear }).read(Buffer.concat([head, payload]), () => true);
      return heard;
    },
  },
  {
    name: 'outcomes for the ledger',
    samples: [settlement],
    enter: ({ text }) => settling(checked(shareResultsArgs, { results: [parseRpc(text)] }).results[0] as never),
  },
  {
    name: 'jobs',
    share: 2,
    samples: [
      {
        id: 'a',
        data: { a: [1, 'x'] },
        channel: 'c',
        parents: ['p'],
        requires: ['gpu'],
        meta: { m: 1 },
        backoff: 'fixed',
        keyWindowMs: 5,
        key: 'k',
      },
    ],
    enter: ({ text }) => checkJobInput(parseJson(text, VALUE_LIMITS)),
  },
  {
    name: 'what a tracker passes on',
    samples: [
      { ...announce, offer: { type: 'offer', sdp }, offer_id: id20 },
      { 'failure reason': 'no' },
      { info_hash: id20, complete: 1, incomplete: 2 },
    ],
    enter: ({ text }) => readTrackerMessage(text, id20),
  },
  {
    name: 'what a tracker is sent',
    samples: [announce],
    enter({ text }) {
      if (tracked.size > 50) tracked.clear();
      return whyMalformed(text, (peerId) => peerId, tracked) === undefined ? 1 : undefined;
    },
  },
  {
    name: 'a notice of Postgres',
    samples: [
      { jobs: [['a', 'c', 'ready', 'g']], rows: [{ kind: 'group', id: 'g' }], cancelled: [], cut: false, ready: true, settled: false },
    ],
    enter: ({ text }) => (readPayload(text).cut ? undefined : 1),
  },
  { name: 'a manifest', samples: [manifest], enter: ({ text }) => parseManifest(text) },
  { name: 'a package.json', samples: [packageJson], enter: ({ text }) => dependencyFields(text) },
  { name: 'a lockfile', samples: [lock], enter: ({ text }) => planInstall(JSON.stringify(packageJson), text) },
  {
    name: 'results of a queue-xec Worker',
    samples: [{ jobID: '1 job', worker: { name: 'w' }, data: { peerwork: 1, output: [1], children: [{ data: 1 }], holdMs: 3 } }],
    enter: ({ text }) => outcomeOf(openResult(key, JSON.stringify(key.seal(text)))?.data ?? null).state === 'completed' || undefined,
  },
  {
    name: 'what is sealed with a transfer key',
    samples: [{ iv: 'a'.repeat(32), encryptedData: 'b'.repeat(64) }, key.seal('{"id":1,"data":2}')],
    enter: ({ text }) => key.openText(text),
  },
  {
    name: 'files of a queue-xec Master',
    samples: [
      {
        status: 'changed',
        dependencies: ['a'],
        files: [{ name: 'task.js', workerPath: '/w/', sha256: sha256Of('x'), content: key.seal('x') }],
      },
    ],
    enter: ({ text }) => readAssets(parseJson(text, VALUE_LIMITS), key),
  },
  {
    name: 'bencode',
    samples: ['d1:ai5e1:bl3:abci-1eee', 'l4:spamd1:xi0eee', 'i12e'],
    refuses: wireFault,
    enter: ({ bytes }) => decode(bytes),
  },
  {
    name: 'wires of a room',
    samples: ['\u0013BitTorrent protocol'],
    refuses: wireFault,
    enter: ({ bytes, random }) => {
      const reader = new FrameReader(new Budget(8 * 1024 * 1024), 1024 * 1024);
      const pieces = reader.push(bytes);
      pieces.push(...reader.push(Buffer.from(random.bytes(random.below(200)))));
      reader.close();
      return pieces[0];
    },
  },
  {
    name: 'text frames of Lightning',
    samples: [
      ['1', '2', 'run:1', 'phx_reply', { status: 'ok', response: { runs: [] } }],
      [null, null, 'worker:queue', 'work-available', {}],
    ],
    enter: ({ bytes }) => decodeFrame(bytes, false),
  },
  {
    name: 'binary frames of Lightning',
    samples: ['\u0001\u0001\u0001\u0001\u000212tok{"a":1}', '\u0002\u0001\u0001te{}'],
    enter: ({ bytes }) => decodeFrame(bytes, true),
  },
  {
    name: 'tokens of runs',
    samples: [`${base64('{"alg":"RS256"}')}.${base64('{"iss":"Lightning"}')}.x`, { alg: 'RS256' }],
    enter: ({ text, random }) =>
      runTokenFault(random.below(2) === 0 ? text : `${base64(text)}.${base64(text)}.${base64('x')}`, publicKey, 0)?.startsWith(
        'its signature',
      ) || undefined,
  },
  {
    name: 'plans of runs',
    samples: [plan],
    refuses: (thrown) => thrown instanceof Error && !(thrown instanceof RangeError) && !(thrown instanceof TypeError),
    enter({ text }) {
      const read = readPlan(parseJson(text, VALUE_LIMITS), { token: 't', collections: undefined, payloadLimitMb: 1, logLimitMb: 1 });
      const run = read.run({});
      const scrubber = new Scrubber();
      for (const { configuration } of run.steps) scrubber.learn(configuration);
      return scrubber.json(run.input as never) ?? null;
    },
  },
  {
    name: 'tasks of worqr',
    samples: [{ a: 1 }, '[1,2]', 'text'],
    enter: ({ text }) =>
      new HeldTask(
        { process: 'q_1', task: text, bytes: text.length, tried: 0, garbled: false },
        { task: {} as never, runner: 'r' },
        { data: 'json', timeoutMs: 0, startedAt: 0 },
        async () => {},
      ).fault === undefined || undefined,
  },
  {
    name: 'claims of worqr',
    samples: [[['p', 't', 1, 0, '']]],
    refuses: (thrown) => thrown instanceof Error && /unexpected response/.test(thrown.message),
    enter: ({ text }) => readClaimed(parseJson(text, VALUE_LIMITS)),
  },
  { name: 'tasks of crew', samples: [crewTask], enter: ({ text }) => readAcquired(parseJson(text, VALUE_LIMITS)) },
  { name: 'outlines', samples: [crewTask], enter: ({ text }) => outlineOf(text, { maxBytes: 1024 * 1024, maxDepth: 2 }) },
  {
    name: 'what a dory-api says',
    samples: [
      { actorConfig: { a: 1 }, dockerImage: 'x', containerCount: 2, status: 'running' },
      { runs: [{ runId: 'r', participants: ['w', { workerId: 'x', heartbeatAt: 5 }], exits: [{ workerId: 'w', exitCode: 1 }] }] },
    ],
    enter({ text }) {
      const value = parseJson(text, VALUE_LIMITS);
      const read = [runConfig, distributedRuns, heartbeatReply].map((shape) => v.safeParse(shape as v.GenericSchema, value).success);
      return read.includes(true) ? read : undefined;
    },
  },
  { name: 'an actor', samples: [actor], enter: ({ text }) => ('actor' in readActor(parseJson(text, VALUE_LIMITS)) ? 1 : undefined) },
  {
    name: 'progress of a crawler',
    samples: ['@peerwork {"handled":1,"failed":0,"total":2,"pending":1}'],
    enter: ({ text }) => readProgress(text.replace(/^\{/, '@peerwork {')),
  },
  {
    name: 'what an engine says of itself',
    samples: [
      { ServerVersion: '20', OSType: 'linux', SecurityOptions: ['name=rootless'] },
      { host: { os: 'linux', cgroupControllers: ['cpu'], security: { rootless: true } }, version: { Version: '4' } },
    ],
    enter: ({ text }) => readFacts('docker', text, {}),
  },
  {
    name: 'what an engine says of a container',
    samples: [{ Status: 'exited', ExitCode: 1, OOMKilled: true, Error: '' }],
    enter: ({ text }) => stateOf(readEngineJson(inspectedState, text)),
  },
  { name: 'tokens of a swarm', samples: [token], enter: ({ text }) => parseToken(text) },
];

t.test('foreign texts and bytes', (t) => fuzz(t, doors, Math.round(INPUTS * 0.92)));
