import { randomUUID } from 'node:crypto';
import * as v from 'valibot';
import type { Json } from '../../../job/job.js';
import { DEFAULT_LOG_LIMIT_MB } from '../defaults.js';
import type { OpenfnEdge, OpenfnRun, OpenfnRunOptions, OpenfnStep } from '../protocol.js';

const COLLECTIONS = '@openfn/language-collections';

const text = v.string();
const maybe = v.nullish(text);
const size = v.nullish(v.pipe(v.number(), v.finite(), v.minValue(0)));
const json = v.custom<Json>((value) => value !== undefined);
const object = v.custom<{ readonly [name: string]: Json }>((value) => typeof value === 'object' && value !== null && !Array.isArray(value));

/** A run as the server describes it (`fetch:plan`), limited to the fields we use. */
const planSchema = v.object({
  id: text,
  name: maybe,
  project_id: maybe,
  dataclip_id: maybe,
  starting_node_id: maybe,
  triggers: v.nullish(v.array(v.object({ id: text })), []),
  jobs: v.array(
    v.object({
      id: maybe,
      name: maybe,
      adaptor: maybe,
      body: maybe,
      credential_id: maybe,
      credential: v.nullish(v.union([text, object])),
      state: v.nullish(json),
    }),
  ),
  edges: v.nullish(
    v.array(
      v.object({
        source_trigger_id: maybe,
        source_job_id: maybe,
        target_job_id: text,
        condition: maybe,
        enabled: v.nullish(v.boolean()),
      }),
    ),
    [],
  ),
  globals: v.nullish(v.unknown()),
  options: v.nullish(
    v.object({
      run_timeout_ms: size,
      run_memory_limit_mb: size,
      payload_limit_mb: size,
      log_payload_limit_mb: size,
      state_limit_mb: size,
      job_log_level: maybe,
      output_dataclips: v.nullish(v.boolean()),
      sanitize: maybe,
    }),
    {},
  ),
});
type Plan = v.InferOutput<typeof planSchema>;
type PlanJob = Plan['jobs'][number];

export interface ReadPlan {
  readonly dataclipId: string | undefined;
  /** Ids of the jobs that receive the run's input itself. */
  readonly firstJobs: readonly string[];
  /** Whether the server wants the states of steps. */
  readonly wantsStates: boolean;
  run(input: Json): OpenfnRun;
}

export interface PlanExtras {
  /** Token of the run, used as the credential for collections. */
  readonly token: string;
  readonly collections: { readonly url: string; readonly version: string } | undefined;
  readonly payloadLimitMb: number;
  readonly logLimitMb: number | undefined;
}

/** Throws an Error that names the invalid part of the plan. */
export function readPlan(received: unknown, extras: PlanExtras): ReadPlan {
  const result = v.safeParse(planSchema, received, { abortEarly: true });
  if (!result.success) throw new Error(`${v.getDotPath(result.issues[0]) ?? 'the plan'}: ${result.issues[0].message}`);
  const plan = result.output;
  const jobs = plan.jobs.map((job) => ({ ...job, id: job.id ?? randomUUID() }));
  const collections = extras.collections !== undefined && jobs.some(({ body }) => body?.includes('collections.'));
  const start = plan.starting_node_id ?? plan.triggers?.[0]?.id ?? jobs[0]?.id;
  const triggers = (plan.triggers ?? []).map(({ id }) => ({ id, next: edgesOf(plan, 'source_trigger_id', id) }));
  const first = triggers.find(({ id }) => id === start);
  const steps: OpenfnStep[] = [...triggers, ...jobs.map((job) => stepOf(plan, job, collections ? extras.collections : undefined))];
  return {
    dataclipId: plan.dataclip_id ?? undefined,
    firstJobs: first === undefined ? [start ?? ''] : Object.keys(first.next),
    wantsStates: plan.options?.output_dataclips !== false,
    run: (input) => ({
      id: plan.id,
      ...(plan.name && { name: plan.name }),
      steps,
      ...(plan.starting_node_id && { start: plan.starting_node_id }),
      input,
      ...(typeof plan.globals === 'string' && { globals: plan.globals }),
      ...(collections && { credentials: collectionCredentials(plan, extras) }),
      options: optionsOf(plan, extras),
    }),
  };
}

function stepOf(plan: Plan, job: PlanJob & { id: string }, collections: PlanExtras['collections']): OpenfnStep {
  const { id, name, adaptor, body, state } = job;
  const configuration = job.credential ?? job.credential_id;
  const next = edgesOf(plan, 'source_job_id', id);
  const adaptors = [
    ...(adaptor ? [adaptor] : []),
    ...(collections && body?.includes('collections.') && !adaptor?.startsWith(COLLECTIONS)
      ? [`${COLLECTIONS}@${collections.version}`]
      : []),
  ];
  return {
    id,
    ...(name && { name }),
    expression: body ?? '',
    adaptors,
    ...(configuration && { configuration }),
    ...(state !== undefined && state !== null && { state }),
    ...(Object.keys(next).length > 0 && { next }),
  };
}

/** Disabled edges of triggers are removed; those of jobs are kept and marked as disabled. */
function edgesOf(plan: Plan, from: 'source_trigger_id' | 'source_job_id', id: string): Record<string, OpenfnEdge> {
  const next: Record<string, OpenfnEdge> = Object.create(null);
  for (const edge of plan.edges ?? []) {
    if (edge[from] !== id) continue;
    const disabled = edge.enabled === false;
    if (from === 'source_trigger_id') {
      if (!disabled) next[edge.target_job_id] = edge.condition && edge.condition !== 'always' ? { condition: edge.condition } : true;
    } else {
      const { condition } = edge;
      next[edge.target_job_id] = condition || disabled ? { ...(condition && { condition }), ...(disabled && { disabled }) } : true;
    }
  }
  return { ...next };
}

function optionsOf({ options }: Plan, extras: PlanExtras): OpenfnRunOptions {
  const runOptions = options ?? {};
  const payloadLimitMb = runOptions.payload_limit_mb ?? extras.payloadLimitMb;
  return {
    ...(runOptions.run_timeout_ms != null && { timeoutMs: runOptions.run_timeout_ms }),
    ...(runOptions.run_memory_limit_mb != null && { memoryMb: runOptions.run_memory_limit_mb }),
    ...(runOptions.state_limit_mb != null && { stateLimitMb: runOptions.state_limit_mb }),
    payloadLimitMb,
    // A low limit for states also lowers the one for log lines, as in OpenFn's worker, which uses one for the other.
    logLimitMb: runOptions.log_payload_limit_mb ?? extras.logLimitMb ?? Math.min(DEFAULT_LOG_LIMIT_MB, payloadLimitMb),
    ...(runOptions.job_log_level && { jobLogLevel: runOptions.job_log_level }),
    ...(runOptions.sanitize && { sanitize: runOptions.sanitize }),
  };
}

function collectionCredentials(plan: Plan, { token, collections }: PlanExtras): { readonly [name: string]: Json } {
  return {
    collections_token: token,
    collections_endpoint: collections?.url ?? '',
    ...(plan.project_id && { project_id: plan.project_id }),
  };
}
