/**
 * A queue-xec Master as described in the notes on its wire, based on the library that the real one uses: it forgets a job once it
 * has handed it out, replies to no result, and takes none back. Driven over IPC.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { openBugout } from './open-bugout.js';

export interface MasterPlan {
  readonly token: string;
  readonly key: string;
  readonly folder: string;
  readonly port: number;
  readonly lsd: boolean;
  readonly dht?: readonly string[];
  readonly files: readonly { readonly name: string; readonly workerPath: string; readonly text: string }[];
  readonly dependencies?: readonly string[];
}

const plan = JSON.parse(process.argv[2] ?? '') as MasterPlan;
// One iv for the whole process, like the real one.
const iv = randomBytes(16);
const seal = (text: string) => {
  const cipher = createCipheriv('aes-256-cbc', Buffer.from(plan.key), iv);
  return { iv: iv.toString('hex'), encryptedData: Buffer.concat([cipher.update(text), cipher.final()]).toString('hex') };
};
const open = (sealed: { iv: string; encryptedData: string }) => {
  const decipher = createDecipheriv('aes-256-cbc', Buffer.from(plan.key), Buffer.from(sealed.iv, 'hex'));
  return Buffer.concat([decipher.update(Buffer.from(sealed.encryptedData, 'hex')), decipher.final()]).toString();
};
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

let jobs: string[] = [];
let { files } = plan;
const tell = (news: object) => process.send?.(news);
const { peer, port } = await openBugout(plan);

peer.register('ping', (_from, args, answer) => answer({ ...Object(args), pong: true }));
peer.register('isMaster', (_from, args, answer) => answer({ ...Object(args), isMaster: 'yes' }));
peer.register('requestExecAssets', (_from, args, answer) => {
  const { currentHash } = args as { currentHash: string };
  if (currentHash === files.map(({ text }) => sha256(text)).join('')) return answer({ status: 'same', files: [] });
  const sent = files.map(({ name, workerPath, text }) => ({
    ...{ masterPath: `/${name}`, name, workerPath },
    ...{ sha256: sha256(text), content: seal(text) },
  }));
  answer({ status: 'changed', dependencies: plan.dependencies ?? [], files: sent });
});
peer.register('requestWork', (_from, args, answer) => {
  const { getBatch, batchSize } = args as { getBatch: unknown; batchSize: number };
  const size = jobs.length;
  const batch = getBatch && size > 1 ? (size > Number(batchSize) ? Number(batchSize) : 1) : 0;
  const given = jobs.splice(0, Math.max(batch, Math.min(1, size)));
  if (size > 0) tell({ handedOut: given.length });
  answer(batch > 0 ? { ...Object(args), batchTasks: given } : { ...Object(args), task: given[0] ?? null });
});
// No reply is ever sent.
peer.register('shareResults', (_from, args) => tell({ result: JSON.parse(open(JSON.parse(String(args)))) }));

process.on('message', (order: { push?: readonly unknown[]; files?: MasterPlan['files'] }) => {
  jobs = [...jobs, ...(order.push ?? []).map((job) => JSON.stringify(seal(JSON.stringify(job))))];
  files = order.files ?? files;
});
process.once('disconnect', () => process.exit(0));
tell({ ready: { port, address: peer.address() } });
