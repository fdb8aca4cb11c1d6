import type { FoundEngine } from '../../../containers/find-engine.js';
import { asPeerworkError } from '../../../errors.js';
import type { Check } from '../../../job/health.js';

/** Name of a locally built image, and of the published one. */
export const LOCAL_IMAGE = 'dory-core:v2';
const PUBLISHED_IMAGE = 'bynikx/dory-core:v2';
const DEFAULT_PULL_MS = 600_000;

export interface ImageStepOptions {
  readonly engine: FoundEngine;
  /** DOCKER_IMAGE; defaults to the images of dory-worker. */
  readonly wanted: string | undefined;
  readonly pullTimeoutMs: number | undefined;
  readonly signal: AbortSignal;
  readonly print: (line: string) => void;
}

/**
 * Provides the image of runs: present already, or pulled. If one of dory's own images cannot be pulled, peerwork's crawler, which
 * understands the same variables, is built under its name; no other name is ever built. `image` is the value for DOCKER_IMAGE. Never
 * rejects.
 */
export async function imageStep(options: ImageStepOptions): Promise<{ check: Check; image?: string }> {
  const { engine, wanted, pullTimeoutMs = DEFAULT_PULL_MS, signal, print } = options;
  const names = wanted === undefined ? [LOCAL_IMAGE, PUBLISHED_IMAGE] : [wanted];
  for (const image of names)
    if ((await engine.command.try(['image', 'inspect', image], { signal })).exitCode === 0) return ready(image, 'is there');
  const { pullImage } = await import('../../../containers/pull.js');
  const image = names.at(-1) ?? LOCAL_IMAGE;
  try {
    print(`pulling ${image}`);
    await pullImage({ command: engine.command, image, signal, timeoutMs: pullTimeoutMs, onProgress: () => {} });
    return ready(image, 'was pulled');
  } catch (thrown) {
    const { message } = asPeerworkError(thrown);
    if (signal.aborted || (image !== LOCAL_IMAGE && image !== PUBLISHED_IMAGE))
      return failed(message, 'Correct DOCKER_IMAGE, or log in at its registry by `docker login`, and then set-up again.');
    print(message);
  }
  const built = wanted ?? LOCAL_IMAGE;
  try {
    const { buildCrawlerImage } = await import('../../../runners/crawl/image.js');
    await buildCrawlerImage({ engine, tags: [built], signal, say: print });
    return ready(built, 'cannot be pulled, so the crawler of peerwork was built under its name');
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    return failed(message, hint);
  }
}

function ready(image: string, how: string): { check: Check; image: string } {
  return { check: { name: 'image', state: 'ok', detail: `${image} ${how}` }, image };
}

function failed(detail: string, hint: string): { check: Check } {
  return { check: { name: 'image', state: 'fail', detail, hint } };
}
