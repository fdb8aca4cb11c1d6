import type { FoundEngine } from '../../../containers/find-engine.js';
import { asPeerworkError } from '../../../errors.js';
import type { Check } from '../../../job/health.js';

/** The image's name where it is built, and where it is published. */
export const LOCAL_IMAGE = 'dory-core:v2';
const PUBLISHED_IMAGE = 'bynikx/dory-core:v2';
const DEFAULT_PULL_MS = 600_000;

export interface ImageStepOptions {
  readonly engine: FoundEngine;
  /** DOCKER_IMAGE; without one, that of dory-worker. */
  readonly wanted: string | undefined;
  readonly pullTimeoutMs: number | undefined;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/**
 * The image of runs: there already, or pulled. The crawler of peerwork, which understands the same variables, is built under the names of dory's
 * own image where that cannot be pulled, and under nobody else's. `image` is what DOCKER_IMAGE should say. Never rejects.
 */
export async function imageStep(options: ImageStepOptions): Promise<{ check: Check; image?: string }> {
  const { engine, wanted, pullTimeoutMs = DEFAULT_PULL_MS, signal, say } = options;
  const names = wanted === undefined ? [LOCAL_IMAGE, PUBLISHED_IMAGE] : [wanted];
  for (const image of names)
    if ((await engine.command.try(['image', 'inspect', image], { signal })).exitCode === 0) return ready(image, 'is there');
  const { pullImage } = await import('../../../containers/pull.js');
  const image = names.at(-1) ?? LOCAL_IMAGE;
  try {
    say(`pulling ${image}`);
    await pullImage({ command: engine.command, image, signal, timeoutMs: pullTimeoutMs, onProgress: () => {} });
    return ready(image, 'was pulled');
  } catch (thrown) {
    const { message } = asPeerworkError(thrown);
    if (signal.aborted || (image !== LOCAL_IMAGE && image !== PUBLISHED_IMAGE))
      return failed(message, 'Correct DOCKER_IMAGE, or log in at its registry by `docker login`, and then set-up again.');
    say(message);
  }
  const built = wanted ?? LOCAL_IMAGE;
  try {
    const { buildCrawlerImage } = await import('../../../runners/crawl/image.js');
    await buildCrawlerImage({ engine, tags: [built], signal, say });
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
