import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { ContainerCeilings } from '../../containers/container-engine.js';
import { invalid, MIN_PIDS } from '../../containers/container-spec.js';
import { type NetworkWish, networkSetting } from '../../egress/policy.js';
import { PeerworkError } from '../../errors.js';
import type { Job, Json } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES, MAX_TIMEOUT_MS } from '../../job/limits.js';
import type { Workplace } from '../../job/runner.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';
import { assetPathFault } from '../../task/asset-path.js';

const word = v.string();
const words = v.pipe(v.array(word), v.maxLength(1_000));
const amount = (max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(max));
const assetPath = v.pipe(
  word,
  v.check((path) => path === '.' || assetPathFault(path) === undefined, 'it is not the path of a file of the task'),
);

const shape = {
  image: v.optional(word),
  /** Replaces the image's own command. */
  command: v.optional(words),
  entrypoint: v.optional(word),
  workdir: v.optional(word),
  env: v.optional(v.record(word, v.union([word, v.number(), v.boolean()]))),
  files: v.optional(v.pipe(v.array(v.strictObject({ pattern: word, maxBytes: v.optional(amount(MAX_JOB_DATA_BYTES)) })), v.maxLength(100))),
  limits: v.optional(
    v.strictObject({
      memoryMb: v.optional(amount(1_048_576)),
      cpus: v.optional(v.pipe(v.number(), v.minValue(0.01), v.maxValue(1_024))),
      pids: v.optional(
        v.pipe(amount(1_048_576), v.minValue(MIN_PIDS, `with fewer than ${MIN_PIDS} processes Node hangs instead of failing`)),
      ),
      tmpMb: v.optional(amount(1_048_576)),
      diskMb: v.optional(amount(1_048_576)),
      timeoutMs: v.optional(amount(MAX_TIMEOUT_MS)),
      stopGraceMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(300_000))),
    }),
  ),
  network: v.optional(networkSetting),
};

/** task.json. `input` lists the task's files to mount, each as a path or as a path and a target; absent for all of them. */
const taskSchema = v.strictObject({
  ...shape,
  runner: v.optional(v.literal('container')),
  /** These two are read when the task is published: the run receives the tunnel, and the Master enforces the limits on children. */
  tunnel: v.optional(v.unknown()),
  children: v.optional(v.unknown()),
  input: v.optional(v.array(v.union([assetPath, v.strictObject({ path: assetPath, at: v.optional(word) })]))),
});
/** Container settings in the data of a job; other fields are for the program in it, unless it has an `input` of its own. */
const dataSchema = v.object({ ...shape, args: v.optional(words) });
const strictDataSchema = v.strictObject({ ...dataSchema.entries, input: v.unknown() });
/** Settings of docker, podman and compose files that jobs do not support here. They are refused, because their author expects an effect. */
const FOREIGN_SETTINGS = new Set(
  (
    'gpus gpu device devices privileged volumes volume mounts mount binds ports publish expose runtime cap_add capAdd cap_drop capDrop security_opt securityOpt ' +
    'shm_size shmSize ulimits userns_mode network_mode networkMode networks restart_policy pid_mode ipc_mode sysctls extra_hosts extraHosts depends_on hostConfig HostConfig'
  ).split(' '),
);

type Task = v.InferOutput<typeof taskSchema>;
type Data = v.InferOutput<typeof dataSchema>;

/** One job with all settings resolved. */
export interface ContainerJob {
  readonly image: string;
  readonly command: readonly string[];
  readonly entrypoint: string | undefined;
  readonly workdir: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Content of /peerwork/input.json. */
  readonly input: Json;
  readonly assets: readonly { readonly path: string; readonly at: string }[];
  readonly files: readonly { readonly pattern: string; readonly maxBytes: number }[];
  readonly memoryMb: number;
  readonly cpus: number;
  readonly pids: number;
  readonly tmpMb: number;
  readonly diskBytes: number;
  /** 0 for no limit. */
  readonly timeoutMs: number;
  readonly stopGraceMs: number;
  readonly network: NetworkWish;
}

const TASK_FOLDER = '/peerwork/task';
export const MEBIBYTE = 1024 * 1024;
const DEFAULT_CPUS = 1;
const DEFAULT_PIDS = 256;
const DEFAULT_TMP_MB = 64;
const DEFAULT_GRACE_MS = 5_000;

/**
 * Merges the settings of the task and of the job, and enforces the owner's limits. Rejects with `container-invalid` or
 * `container-limits`.
 */
export async function readContainerJob(job: Job, workplace: Workplace | undefined, ceilings: ContainerCeilings): Promise<ContainerJob> {
  const task = workplace === undefined ? {} : await readTask(workplace);
  const data = isObject(job.data) ? readData(job.data) : {};
  const image = data.image ?? task.image;
  if (image === undefined) throw invalid('no image is named');
  const limits = { ...task.limits, ...data.limits };
  const memoryMb = limits.memoryMb ?? ceilings.defaultMemoryMb;
  const diskMb = limits.diskMb ?? ceilings.diskMb;
  const { cpus, pids, tmpMb } = limits;
  if (memoryMb > ceilings.memoryMb) throw overLimit(`${memoryMb} MiB of memory`, ceilings.memoryMb);
  if (diskMb > ceilings.diskMb) throw overLimit(`${diskMb} MiB of files`, ceilings.diskMb);
  if (cpus !== undefined && cpus > ceilings.cpus) throw overLimit(`${cpus} cores`, ceilings.cpus);
  if (pids !== undefined && pids > ceilings.pids) throw overLimit(`${pids} processes`, ceilings.pids);
  if (tmpMb !== undefined && tmpMb > memoryMb) throw overLimit(`${tmpMb} MiB in /tmp, which is in the job’s memory`, memoryMb);
  return {
    image,
    command: [...(data.command ?? task.command ?? []), ...(data.args ?? [])],
    entrypoint: data.entrypoint ?? task.entrypoint,
    workdir: data.workdir ?? task.workdir,
    env: Object.fromEntries(Object.entries({ ...task.env, ...data.env }).map(([name, value]) => [name, String(value)])),
    input: isObject(job.data) && job.data['input'] !== undefined ? job.data['input'] : job.data,
    assets: workplace === undefined ? [] : assetsOf(task),
    files: (data.files ?? task.files ?? []).map(({ pattern, maxBytes = MAX_JOB_DATA_BYTES }) => ({ pattern, maxBytes })),
    memoryMb,
    cpus: cpus ?? Math.min(DEFAULT_CPUS, ceilings.cpus),
    pids: pids ?? Math.min(DEFAULT_PIDS, ceilings.pids),
    tmpMb: tmpMb ?? Math.min(DEFAULT_TMP_MB, memoryMb),
    diskBytes: diskMb * MEBIBYTE,
    timeoutMs: shorter(job.timeoutMs, limits.timeoutMs ?? 0),
    stopGraceMs: limits.stopGraceMs ?? DEFAULT_GRACE_MS,
    network: data.network ?? task.network ?? 'none',
  };
}

async function readTask({ folder, entry }: Workplace): Promise<Task> {
  const bytes = await readFile(join(folder, entry));
  let json: unknown;
  try {
    json = parseJson(bytes, { ...LOCAL_JSON, exact: true });
  } catch (error) {
    throw invalid(`${entry}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return check(taskSchema, json, entry);
}

/** Refuses every setting that is meant for a container but not supported, instead of ignoring it. */
function readData(data: { readonly [key: string]: Json }): Data {
  const foreign = Object.keys(data).find((key) => FOREIGN_SETTINGS.has(key));
  if (foreign !== undefined)
    throw invalid(
      `the data of the job: ${foreign}: containers of jobs have no such setting; what is meant for the program goes into input`,
    );
  // With an `input` of its own the program would see none of the other fields.
  return data['input'] === undefined
    ? check(dataSchema, data, 'the data of the job')
    : check(strictDataSchema, data, 'the data of the job');
}

function check<T extends typeof taskSchema | typeof dataSchema | typeof strictDataSchema>(
  schema: T,
  value: unknown,
  place: string,
): v.InferOutput<T>;
function check(schema: typeof taskSchema | typeof dataSchema | typeof strictDataSchema, value: unknown, place: string): Task | Data {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw invalid(`${place}: ${v.getDotPath(issue) ?? 'all of it'}: ${issue.message}`);
}

function assetsOf({ input }: Task): ContainerJob['assets'] {
  if (input === undefined) return [{ path: '.', at: TASK_FOLDER }];
  return input.map((each) => {
    const { path, at } = typeof each === 'string' ? { path: each, at: undefined } : each;
    return { path, at: at ?? (path === '.' ? TASK_FOLDER : `${TASK_FOLDER}/${path}`) };
  });
}

function isObject(data: Json): data is { readonly [key: string]: Json } {
  return typeof data === 'object' && data !== null && !Array.isArray(data);
}

function shorter(one: number, other: number): number {
  return one === 0 || other === 0 ? Math.max(one, other) : Math.min(one, other);
}

function overLimit(asked: string, allowed: number): PeerworkError {
  return new PeerworkError('container-limits', `${asked}, allowed are ${allowed}`);
}
