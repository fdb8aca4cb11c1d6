import * as v from 'valibot';
import { MAX_CHANNEL_CHARS, MAX_JOB_ID_CHARS } from './limits.js';

const names = (maxChars: number) => v.pipe(v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(maxChars))), v.maxLength(1_000));

/** Where the children of a channel's jobs may go in addition to their own channel and workgroup, as declared by a task. */
export const childBounds = v.strictObject({
  channels: v.exactOptional(names(MAX_CHANNEL_CHARS)),
  workgroups: v.exactOptional(names(MAX_JOB_ID_CHARS)),
});

export interface ChildBounds {
  readonly channels?: readonly string[];
  readonly workgroups?: readonly string[];
}
