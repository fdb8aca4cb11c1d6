import { isObjectId, MALFORMED_ID } from './object-id.js';

/** crew answers whatever goes wrong with 500 and a message; clients retry by that. */
export class Refusal extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export function refuse(message: string): Error {
  return new Refusal(message, 500);
}

/** There is no such thing; of what cannot be an id at all crew says so. Our own jobs and groups may have any ids: only who finds none asks this. */
export function notFound(kind: string, id: string): Error {
  return isObjectId(id) ? new Refusal(`${kind} with id ${id} not found!`, 404) : refuse(MALFORMED_ID);
}

export function unknownTask(id: string): Error {
  return unknown('task', id);
}

export function unknownGroup(id: string): Error {
  return unknown('task group', id);
}

export function unknown(kind: string, id: string): Error {
  return refuse(isObjectId(id) ? `Unable to find ${kind} ${id}!` : MALFORMED_ID);
}
