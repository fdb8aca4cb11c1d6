import type { Command } from 'commander';
import { readOptions } from './options.js';
import { untilStopped } from './stop.js';

/** Builds the crawler's image and prints its name on stdout; progress goes to stderr. */
export async function image(command: Command): Promise<number> {
  const { imageBase, imageTags, containers } = await readOptions(command, 'image');
  const { findEngine } = await import('../containers/find-engine.js');
  const { buildCrawlerImage, removeOldImages } = await import('../runners/crawl/image.js');
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  return untilStopped(async (signal) => {
    // An owner who runs no containers may still build the image for others.
    const engine = await findEngine(containers === 'off' ? 'auto' : containers, process.env);
    say(`${engine.facts.kind} ${engine.facts.version}`);
    const built = await buildCrawlerImage({ engine, base: imageBase, tags: imageTags ?? [], signal, say });
    const removed = await removeOldImages(engine, built);
    if (removed > 0) say(`removed ${removed} of earlier versions`);
    process.stdout.write(`${built}\n`);
    return 0;
  });
}
