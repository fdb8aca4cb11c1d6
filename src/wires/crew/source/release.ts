import { type ChildInput, DEFAULT_CHANNEL, type Json, type Outcome } from '../../../job/job.js';

/** Body of a release, and of the reply to an operator of crew. */
export type Release =
  | {
      readonly output: Json;
      readonly children: readonly { readonly [field: string]: Json }[];
      readonly childrenDelayInSeconds: number;
      readonly workgroupDelayInSeconds?: number;
    }
  | { readonly error: string; readonly workgroupDelayInSeconds?: number };

/** Converts an outcome to crew's format; children that crew could not create turn it into an error. */
export function releaseOf(outcome: Exclude<Outcome, { state: 'released' }>, now: number): Release {
  const hold = seconds(outcome.holdMs);
  const held = hold > 0 ? { workgroupDelayInSeconds: hold } : {};
  if (outcome.state === 'failed') return { error: outcome.error.message || outcome.error.code, ...held };
  const children = childrenInOrder(outcome.children ?? []);
  if (typeof children === 'string') return { error: children, ...held };
  return {
    output: outcome.output,
    children: children.map((child) => taskOf(child, now)),
    childrenDelayInSeconds: seconds(outcome.childrenDelayMs),
    ...held,
  };
}

/** Rounds up: delays are whole seconds in crew's own workers, and a wait shorter than requested would break the limit it protects. */
function seconds(ms: number | undefined): number {
  return Math.ceil((ms ?? 0) / 1_000);
}

/**
 * Orders parents before their children, since crew creates them in one pass and silently drops references to later ones. Returns an error
 * message if that is impossible.
 */
function childrenInOrder(children: readonly ChildInput[]): ChildInput[] | string {
  const ordered: ChildInput[] = [];
  const known = new Set<string>();
  const refs = children.flatMap(({ ref }) => ref ?? []);
  if (new Set(refs).size < refs.length) return 'The children cannot be created: two have the same ref';
  for (let left = [...children]; left.length > 0; ) {
    const later: ChildInput[] = [];
    for (const child of left) {
      if (!(child.parents ?? []).every((parent) => known.has(parent))) {
        later.push(child);
        continue;
      }
      ordered.push(child);
      if (child.ref !== undefined) known.add(child.ref);
    }
    if (later.length === left.length)
      return 'The children cannot be created: they name parents that are not there, or each other in a circle';
    left = later;
  }
  return ordered;
}

/**
 * Converts a child to the task that crew creates. Fields that crew lacks (id, timeoutMs, keyWindowMs, requires, persistent, meta,
 * parentFailure) are omitted.
 */
function taskOf(child: ChildInput, now: number): { readonly [field: string]: Json } {
  const {
    ref,
    parents,
    name,
    channel = DEFAULT_CHANNEL,
    data,
    attempts,
    priority,
    delayMs,
    runAt,
    backoffMs,
    weight,
    seed,
    workgroup,
    key,
  } = child;
  const startAt = runAt ?? (delayMs ? now + delayMs : undefined);
  return {
    name: name ?? ref ?? channel,
    channel,
    input: data,
    ...(ref !== undefined && { _child_id: ref }),
    // Without this field, crew makes the releasing task the parent.
    ...(parents !== undefined && { _parent_ids: parents }),
    ...(attempts !== undefined && { remainingAttempts: attempts }),
    ...(priority !== undefined && { priority }),
    // A numeric `runAfter` crashes the real server.
    ...(startAt !== undefined && { runAfter: new Date(startAt).toISOString() }),
    ...(backoffMs !== undefined && { errorDelayInSeconds: seconds(backoffMs) }),
    ...(weight !== undefined && { progressWeight: weight }),
    ...(seed !== undefined && { isSeed: seed }),
    ...(workgroup !== undefined && { workgroup }),
    ...(key !== undefined && { key }),
  };
}
