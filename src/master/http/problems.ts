import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { type AnyErrorCode, describeError, errorTable, PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';

/** An error in the format of RFC 9457, with the code and hint of the error table. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: AnyErrorCode;
  readonly detail: string;
  readonly hint: string;
  readonly instance?: string;
}

export const PROBLEM_TYPE = 'application/problem+json';

/** Converts an error to a problem document; `instance` is the path of the request. */
export function problemOf(error: PeerworkError, instance?: string): Problem {
  const { code } = error;
  return {
    type: `urn:peerwork:error:${code}`,
    title: describeError(code),
    status: error.status,
    code,
    // Details of internal errors belong in the log only.
    detail: code === 'internal' ? describeError(code) : error.message,
    hint: error.hint,
    ...(instance === undefined ? {} : { instance }),
  };
}

/** Converts anything thrown while serving a request; unexpected errors become `internal` and are logged. */
export function asProblem(thrown: unknown, log: Log): PeerworkError {
  if (thrown instanceof PeerworkError) {
    if (thrown.code === 'internal') log.error('a request failed', { error: thrown, hint: errorTable.internal.hint });
    return thrown;
  }
  const error = thrown as Partial<FastifyError>;
  switch (error.code) {
    case 'FST_ERR_VALIDATION':
      return new PeerworkError('request-invalid', error.message);
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new PeerworkError('body-too-large', 'its body');
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new PeerworkError('media-type', error.message);
  }
  const { statusCode = 500 } = error;
  if (statusCode >= 400 && statusCode < 500) return new PeerworkError('request-invalid', error.message ?? '');
  log.error('a request failed', { error: thrown, hint: errorTable.internal.hint });
  return new PeerworkError('internal', '', { cause: thrown });
}

/** Responds with the problem document of an error. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, error: PeerworkError): FastifyReply {
  if (error.code === 'http-unauthorized') reply.header('www-authenticate', 'Bearer realm="peerwork"');
  const body = JSON.stringify(problemOf(error, request.url.split('?')[0]));
  return reply.code(error.status).type(PROBLEM_TYPE).serializer(String).send(body);
}
