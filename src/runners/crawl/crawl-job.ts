import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { readActor } from '../../crawl/actor.js';
import { type NetworkWish, networkSetting } from '../../egress/policy.js';
import { PeerworkError } from '../../errors.js';
import type { CrawlJob } from '../../job/crawl.js';
import type { Job, Json } from '../../job/job.js';
import type { Workplace } from '../../job/runner.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';
import { readRedisUrl } from '../../kit/redis-url.js';
import { canonicalJson } from '../../task/canonical-json.js';

const MAX_CONTAINERS = 1_000;
const MAX_TEXT = 2_000;
const QUEUE_KEY_CHARS = 16;
/** The maximum of a timer, a little less than 25 days. */
const MAX_TIMEOUT_SECS = 2_147_000;

const text = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max), v.regex(/^\P{Cc}+$/u, 'holds control characters'));
const integer = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));

const optional = v.exactOptional;
const runId = text(200);
const actor = v.record(
  v.string(),
  v.custom<Json>((value) => value !== undefined),
);
const containers = integer(1, MAX_CONTAINERS);
const otherFields = {
  image: optional(text(400)),
  memoryMb: optional(integer(32, 1_048_576)),
  timeoutSecs: optional(v.pipe(v.number(), v.minValue(0.001), v.maxValue(MAX_TIMEOUT_SECS))),
  redisUrl: optional(v.pipe(text(MAX_TEXT), v.check(isRedisUrl, 'must begin with redis:// or rediss:// and name a host'))),
  distributed: optional(v.boolean()),
  containerIdPrefix: optional(v.pipe(v.string(), v.regex(/^[\w.-]{1,100}$/, 'must be letters, digits, _, . and -'))),
  api: optional(
    v.strictObject({
      baseUrl: v.pipe(text(MAX_TEXT), v.regex(/^https?:\/\//i, 'must be http or https')),
      key: v.pipe(v.string(), v.maxLength(MAX_TEXT), v.regex(/^\P{Cc}*$/u, 'holds control characters')),
    }),
  ),
  labels: optional(v.record(v.string(), v.pipe(v.string(), v.maxLength(MAX_TEXT)))),
};
/** The data of a job from a source. */
const crawlSchema = v.strictObject({ runId, actor, containers, ...otherFields });
/** The parts in task.json and in the data of a job. */
const partSchema = v.strictObject({ runId: optional(runId), actor: optional(actor), containers: optional(containers), ...otherFields });
/** Fields that only a source may set: where results go instead of the outcome, and names and labels of containers. */
const SOURCES_ONLY = ['api', 'labels', 'containerIdPrefix'] as const;

/** A validated job, with what a run needs to know about it. */
export interface CheckedCrawl extends CrawlJob {
  /** Whether the queue is shared in Redis. */
  readonly shared: boolean;
  /** Whether the owner of this Worker has connected it to the source of the job: its Redis and its API may then be anywhere. */
  readonly trusted: boolean;
  /** Name of the queue. */
  readonly queue: string;
  /** Equal for all attempts of the job, as long as its task and its settings are the same; hexadecimal. */
  readonly key: string;
  /** What its containers may reach, in addition to its Redis and its API. */
  readonly network: NetworkWish;
}

/**
 * Reads the crawl that a job requests: its data alone if it is from a source, else `task.json` merged with the job's data, `actor` field
 * by field. Rejects with `crawl-invalid` and the path of the fault, or `crawl-redis-missing`.
 */
export async function readCrawlJob(job: Job, workplace: Workplace | undefined, hasTunnel: boolean): Promise<CheckedCrawl> {
  // If the owner has connected the worker to the source itself, a crawl may reach whatever the owner allows jobs to reach.
  const { network = workplace === undefined ? 'lan' : 'internet', ...crawl } =
    workplace === undefined ? { ...parse(crawlSchema, job.data, ''), network: undefined } : await readTaskCrawl(job, workplace);
  const { distributed = false } = crawl;
  const shared = crawl.containers > 1 || distributed;
  if (shared && crawl.redisUrl === undefined && !hasTunnel) throw new PeerworkError('crawl-redis-missing');
  const trusted = workplace === undefined;
  const key = createHash('sha256')
    .update(canonicalJson([job.id, job.channel, workplace?.digest ?? '', crawl as unknown as Json]))
    .digest('hex');
  // Results that are delivered elsewhere belong to the run, whichever job works on it. Results in the outcome belong to this very job.
  const queue = crawl.api !== undefined ? crawl.runId : `${crawl.runId}~${key.slice(0, QUEUE_KEY_CHARS)}`;
  return { ...crawl, shared, trusted, queue, key, network };
}

async function readTaskCrawl(job: Job, { folder, entry }: Workplace): Promise<CrawlJob & { readonly network: NetworkWish | undefined }> {
  // The first three are read when the task is published.
  const { runner: _, tunnel: _tunnel, children: _children, network: requested, ...settings } = await readSettings(join(folder, entry));
  const { network } = parse(v.object({ network: v.optional(networkSetting) }), { network: requested }, 'task.json: ');
  const task = parse(partSchema, settings, 'task.json: ');
  const own = job.data === null ? {} : parse(partSchema, job.data, 'data: ');
  for (const field of SOURCES_ONLY)
    if (task[field] !== undefined || own[field] !== undefined) throw invalid(`${field}: a task cannot set it`);
  const merged = { runId: job.id, containers: 1, ...task, ...own, actor: { ...task.actor, ...own.actor } };
  return { ...parse(crawlSchema, merged, ''), network };
}

async function readSettings(file: string): Promise<{ readonly [key: string]: unknown }> {
  try {
    const settings: unknown = parseJson(await readFile(file, 'utf8'), LOCAL_JSON);
    if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) return settings as Record<string, unknown>;
    throw invalid('task.json: it is not an object');
  } catch (thrown) {
    if (thrown instanceof PeerworkError) throw thrown;
    throw invalid(`task.json: ${(thrown as Error).message}`);
  }
}

/** Validates a config for our own crawler; another image has a config of its own. Throws `crawl-invalid`. */
export function checkActor(crawl: CrawlJob): void {
  const read = readActor(crawl.actor);
  if ('fault' in read) throw invalid(`actor.${read.fault}`);
}

function parse<const S extends v.GenericSchema>(schema: S, value: unknown, where: string): v.InferOutput<S> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue);
  throw invalid(`${where}${path === null ? '' : `${path}: `}${issue.message}`);
}

function isRedisUrl(url: string): boolean {
  try {
    readRedisUrl(url);
    return true;
  } catch {
    return false;
  }
}

function invalid(detail: string): PeerworkError {
  return new PeerworkError('crawl-invalid', detail);
}
