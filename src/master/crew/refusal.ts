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

export function notFound(kind: string, id: string): Error {
  return new Refusal(`${kind} with id ${id} not found!`, 404);
}

export function unknownTask(id: string): Error {
  return refuse(`Unable to find task ${id}!`);
}
