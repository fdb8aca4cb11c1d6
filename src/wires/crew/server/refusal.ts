import { isObjectId, MALFORMED_ID } from './object-id.js';

/** An error as crew reports it: nearly always status 500 with a message, on which clients base their retries. */
export class Refusal extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** Creates an error with status 500, as crew reports nearly all of them. */
export function refuse(message: string): Error {
  return new Refusal(message, 500);
}

/**
 * Error for a missing record, or for a text that crew would not accept as an id. Our own jobs and groups may have any id, so this is only
 * called after a failed lookup.
 */
export function notFound(kind: string, id: string): Error {
  return isObjectId(id) ? new Refusal(`${kind} with id ${id} not found!`, 404) : refuse(MALFORMED_ID);
}

export function unknownTask(id: string): Error {
  return unknown('task', id);
}

export function unknownGroup(id: string): Error {
  return unknown('task group', id);
}

/** Error of an operation on a missing record: status 500, unlike `notFound`. */
export function unknown(kind: string, id: string): Error {
  return refuse(isObjectId(id) ? `Unable to find ${kind} ${id}!` : MALFORMED_ID);
}
