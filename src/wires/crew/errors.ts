import { declareErrors } from '../../errors.js';

/** Errors of crew servers, and of the endpoint that their operators call. */
export const CrewError = declareErrors({
  'crew-unreachable': {
    message: 'The crew server cannot be reached: {detail}',
    hint: 'Check the address; the Worker keeps retrying, and running jobs continue.',
    status: 502,
  },
  'crew-refused': {
    message: 'The crew server rejected a request: {detail}',
    hint: 'Check the address and the authorization; the Worker keeps retrying.',
    status: 502,
  },
  'crew-endpoint-unusable': {
    message: 'The endpoint for operators of crew cannot be opened: {detail}',
    hint: 'Choose another port; set a token unless it is bound to loopback.',
    status: 500,
  },
});
