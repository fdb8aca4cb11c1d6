import { declareErrors } from '../../errors.js';

/** Errors of the Redis behind worqr queues. */
export const WorqrError = declareErrors({
  'worqr-unreachable': {
    message: "worqr's Redis cannot be reached: {detail}",
    hint: 'Start it, or fix its address: `redis-cli -u ADDRESS ping` must return PONG; use rediss:// only with TLS. The Worker keeps retrying, and running jobs continue.',
    status: 502,
  },
  'worqr-refused': {
    message: "worqr's Redis rejected a command: {detail}",
    hint: 'Check the Redis server, and look for other programs that use the same prefix; the Worker keeps retrying.',
    status: 502,
  },
});
