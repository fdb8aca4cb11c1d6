import type { Json } from '../../job/job.js';
import type { OpenfnError } from '../../job/openfn.js';

export interface ExitReason {
  readonly reason: 'success' | 'fail' | 'crash' | 'kill' | 'exception';
  readonly error_type: string | null;
  readonly error_message: string | null;
}

export const SUCCESS: ExitReason = { reason: 'success', error_type: null, error_message: null };
const severities = ['fail', 'crash', 'kill', 'exception'] as const;

/** Of an error that ended a step or the run. */
export function reasonOf({ severity, subtype, type, name, message }: OpenfnError): ExitReason {
  return {
    reason: severities.find((known) => known === severity) ?? 'crash',
    error_type: subtype || type || name || 'Error',
    error_message: message,
  };
}

/** Of a step that ended: what the flow goes on after stands in the state under `errors`. */
export function stepReason(step: string, state: Json | undefined, error: OpenfnError | undefined): ExitReason {
  const noted = notedError(step, state);
  if (error !== undefined && !(noted !== undefined && noted.name === error.name && noted.message === error.message)) return reasonOf(error);
  if (noted === undefined) return SUCCESS;
  return { reason: 'fail', error_type: noted.name, error_message: noted.message };
}

function notedError(step: string, state: Json | undefined): { readonly name: string; readonly message: string } | undefined {
  const errors = member(state, 'errors');
  const noted = member(errors, step);
  if (noted === undefined || noted === null) return undefined;
  return { name: String(member(noted, 'name') ?? 'Error'), message: String(member(noted, 'message') ?? '') };
}

function member(value: Json | undefined, name: string): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  return Object.hasOwn(value, name) ? (value as { readonly [name: string]: Json })[name] : undefined;
}
