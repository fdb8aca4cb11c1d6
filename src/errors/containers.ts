import type { ErrorEntry } from './entry.js';

/** The container engine of a worker, and what a container ends with. */
export const containerErrors = {
  'engine-missing': {
    message: 'No container engine can be used here: {detail}',
    todo: 'Install docker or podman, start it, and let this user use it; `docker version` must answer.',
    status: 501,
  },
  'engine-failed': {
    message: 'The container engine failed: {detail}',
    todo: 'Look at the engine itself: `docker info`, its log, its disk.',
    status: 502,
  },
  'image-refused': {
    message: 'The owner of this worker does not allow the image: {detail}',
    todo: 'Use an image that is allowed, or let the owner add it to PEERWORK_IMAGES.',
    status: 403,
  },
  'image-missing': {
    message: 'The image is not here and cannot be pulled: {detail}',
    todo: 'Check the name of the image, that its registry is reachable from the worker, and PEERWORK_PULL.',
    status: 404,
  },
  'container-invalid': {
    message: 'The container job is not valid: {detail}',
    todo: 'Correct task.json or the data of the job; docs/containers.md describes both.',
    status: 422,
  },
  'container-limits': {
    message: 'The container asks for more than the owner of this worker allows: {detail}',
    todo: 'Ask for less, or let the owner raise the limit.',
    status: 403,
  },
  'container-failed': {
    message: 'The container ended with an error: {detail}',
    todo: 'Look into the log of the job.',
    status: 500,
  },
  'egress-unavailable': {
    message: 'This worker cannot hold the container to its network policy: {detail}',
    todo: 'Use an image that speaks to the proxy socket, run the worker as root with nftables, ask for no network, or let the owner open it.',
    status: 501,
  },
} as const satisfies Record<string, ErrorEntry>;
