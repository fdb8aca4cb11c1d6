/**
 * A queue-xec Worker as described in the notes on its wire, based on the library that the real one uses, with its weaknesses: it
 * crashes when a task rejects, swallows a request for work that comes within 15 ms of the previous one, and requests work by itself
 * only every 30 s.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { openBugout } from './open-bugout.js';

export interface WorkerPlan {
  readonly token: string;
  readonly key: string;
  readonly folder: string;
  readonly port: number;
  readonly lsd: boolean;
  readonly name: string;
  /** `host:port` of the Master. */
  readonly dial?: string;
  readonly getBatch?: string;
  readonly batchSize?: string;
}

interface Sealed {
  readonly iv: string;
  readonly encryptedData: string;
}
interface ForeignJob {
  readonly id: unknown;
  readonly data: unknown;
}

const GUARD_MS = 15;
const TIMER_MS = 30_000;
const plan = JSON.parse(process.argv[2] ?? '') as WorkerPlan;
const iv = randomBytes(16);
const seal = (text: string): Sealed => {
  const cipher = createCipheriv('aes-256-cbc', Buffer.from(plan.key), iv);
  return { iv: iv.toString('hex'), encryptedData: Buffer.concat([cipher.update(text), cipher.final()]).toString('hex') };
};
const open = (sealed: Sealed) => {
  const decipher = createDecipheriv('aes-256-cbc', Buffer.from(plan.key), Buffer.from(sealed.iv, 'hex'));
  return Buffer.concat([decipher.update(Buffer.from(sealed.encryptedData, 'hex')), decipher.final()]).toString();
};
const at = (workerPath: string) => join(process.cwd(), workerPath);
const require = createRequire(import.meta.url);

const { peer, port } = await openBugout(plan);
let master: string | undefined;
let files: { name: string; workerPath: string; content: Sealed }[] = [];
let task: { run(job: ForeignJob): Promise<unknown> } | undefined;
let working = false;
let askedAt = 0;
const batch: ForeignJob[] = [];

peer.register('ping', () => process.exit(255));
peer.on('seen', (address: string) =>
  peer.rpc(address, 'isMaster', {}, (answer: { isMaster?: string }) => {
    if (answer.isMaster !== 'yes') return;
    master = address;
    const hashes = files.map(({ workerPath }) =>
      createHash('sha256')
        .update(readFileSync(at(workerPath)))
        .digest('hex'),
    );
    peer.rpc(address, 'requestExecAssets', { currentHash: hashes.join('') }, takeAssets);
  }),
);
setInterval(() => {
  if (Date.now() - askedAt > TIMER_MS / 2) requestWork();
}, TIMER_MS);
process.once('disconnect', () => process.exit(0));
if (plan.dial !== undefined) peer.torrent.addPeer(plan.dial);
process.send?.({ ready: { port, address: peer.address() } });

function takeAssets(answer: { status: string; files: typeof files }): void {
  if (answer.status === 'changed') {
    for (const { workerPath } of files) rmSync(at(`/${workerPath.split('/')[1]}`), { recursive: true, force: true });
    files = answer.files;
    for (const { workerPath, content } of files) {
      mkdirSync(dirname(at(workerPath)), { recursive: true });
      writeFileSync(at(workerPath), open(content));
    }
    const entry = files.filter(({ name }) => name === 'task.js').map(({ workerPath }) => at(workerPath))[0] ?? '';
    delete require.cache[require.resolve(entry)];
    task = new (require(entry))();
  }
  requestWork();
}

function requestWork(): void {
  if (master === undefined || working) return;
  const next = batch.shift();
  if (next !== undefined) work(next);
  if (next !== undefined || Date.now() - askedAt <= GUARD_MS) return;
  askedAt = Date.now();
  const args = { getBatch: plan.getBatch ?? false, batchSize: plan.batchSize ?? 5 };
  peer.rpc(master, 'requestWork', args, (answer: { task?: string | null; batchTasks?: string[] }) => {
    if (answer.task) work(JSON.parse(open(JSON.parse(answer.task))));
    if (answer.batchTasks) {
      for (const text of answer.batchTasks) batch.push(JSON.parse(open(JSON.parse(text))));
      requestWork();
    }
  });
}

function work(job: ForeignJob): void {
  if (working) {
    batch.push(job);
    return;
  }
  working = true;
  // A rejection is not caught and ends the process.
  void task?.run(job).then((data) => {
    const result = seal(JSON.stringify({ jobID: job.id, worker: { name: plan.name }, data }));
    if (master !== undefined) peer.rpc(master, 'shareResults', JSON.stringify(result), () => {});
    working = false;
    requestWork();
  });
}
