import type { ErrorEntry } from './entry.js';

/** The HTTP API. */
export const httpErrors = {
  'api-unreachable': {
    message: 'The Master’s HTTP API does not answer: {detail}',
    todo: 'Start `peerwork master`, with --http beside an --input, or name its address with `--api` or PEERWORK_API.',
    status: 503,
  },
  'address-unusable': {
    message: 'The HTTP API cannot be served there: {detail}',
    todo: 'Choose another port or host, or stop what listens there.',
    status: 500,
  },
  'http-unauthorized': {
    message: 'The request has no valid token',
    todo: 'Send `Authorization: Bearer …` with a token that the Master was given.',
    status: 401,
  },
  'http-forbidden': {
    message: 'The request is not allowed: {detail}',
    todo: 'Use a token with the scope that is missing, or ask from the Master’s own machine.',
    status: 403,
  },
  'route-unknown': {
    message: 'There is nothing at this address: {detail}',
    todo: 'Look into the API’s own pages under /docs.',
    status: 404,
  },
  'method-unknown': {
    message: 'This address does not know the method: {detail}',
    todo: 'Use a method that the header Allow names.',
    status: 405,
  },
  'request-invalid': {
    message: 'The request cannot be understood: {detail}',
    todo: 'Correct the request; the API’s own pages under /docs describe every field.',
    status: 400,
  },
  'request-slow': { message: 'The request did not arrive in time', todo: 'Send it again, faster.', status: 408 },
  'body-too-large': {
    message: 'The request is larger than allowed: {detail}',
    todo: 'Send less at once; many jobs go as application/x-ndjson, a line each.',
    status: 413,
  },
  'media-type': {
    message: 'The body has a type that is not understood here: {detail}',
    todo: 'Send `Content-Type: application/json`, or application/x-ndjson where jobs are pushed.',
    status: 415,
  },
  'rate-limited': { message: 'Too many requests came at once', todo: 'Wait as long as the header Retry-After says.', status: 429 },
  'group-unknown': { message: 'There is no group with this id: {detail}', todo: 'Check the id.', status: 404 },
  'workgroup-unknown': { message: 'There is no workgroup with this id: {detail}', todo: 'Check the id.', status: 404 },
  'schedule-unknown': { message: 'There is no schedule with this id: {detail}', todo: 'Check the id.', status: 404 },
  'worker-unknown': { message: 'There is no worker with this id: {detail}', todo: 'Check the id.', status: 404 },
} as const satisfies Record<string, ErrorEntry>;
