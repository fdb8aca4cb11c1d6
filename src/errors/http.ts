import type { ErrorEntry } from './entry.js';

/** The HTTP API. */
export const httpErrors = {
  'api-unreachable': {
    message: 'The Master’s HTTP API is not responding: {detail}',
    hint: 'Start `peerwork master` (add `--http` when using `--input`), or set its address with `--api` or PEERWORK_API.',
    status: 503,
  },
  'address-unusable': {
    message: 'Cannot listen on this address: {detail}',
    hint: 'Choose another port or host, or stop the process that is listening there (`ss -ltnp` shows it).',
    status: 500,
  },
  'http-unauthorized': {
    message: 'The request has no valid token',
    hint: 'Send `Authorization: Bearer …` with one of the Master’s `--http-token` tokens.',
    status: 401,
  },
  'http-forbidden': {
    message: 'The request is not allowed: {detail}',
    hint: 'Use a token with the required scope, or send the request from the Master’s own machine.',
    status: 403,
  },
  'route-unknown': {
    message: 'No such route: {detail}',
    hint: 'See the API reference under /docs.',
    status: 404,
  },
  'method-unknown': {
    message: 'Method not allowed for this route: {detail}',
    hint: 'Use a method listed in the Allow header.',
    status: 405,
  },
  'request-invalid': {
    message: 'The request is invalid: {detail}',
    hint: 'Fix the request; the API reference under /docs describes every field.',
    status: 400,
  },
  'request-slow': { message: 'The request did not arrive in time', hint: 'Retry over a faster connection.', status: 408 },
  'body-too-large': {
    message: 'The request is larger than allowed: {detail}',
    hint: 'Send less per request; push many jobs as application/x-ndjson, one per line.',
    status: 413,
  },
  'media-type': {
    message: 'Unsupported media type: {detail}',
    hint: 'Send `Content-Type: application/json`, or application/x-ndjson when pushing jobs.',
    status: 415,
  },
  'rate-limited': { message: 'Too many requests', hint: 'Wait for the time in the Retry-After header.', status: 429 },
  'group-unknown': { message: 'No group with this id: {detail}', hint: 'Check the id.', status: 404 },
  'workgroup-unknown': { message: 'No workgroup with this id: {detail}', hint: 'Check the id.', status: 404 },
  'schedule-unknown': { message: 'No schedule with this id: {detail}', hint: 'Check the id.', status: 404 },
  'worker-unknown': { message: 'No worker with this id: {detail}', hint: 'Check the id.', status: 404 },
} as const satisfies Record<string, ErrorEntry>;
