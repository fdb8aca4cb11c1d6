import type { Command } from 'commander';
import { readOptions } from './options.js';
import { catchSignals, exitOfSignal } from './stop.js';

/** Builds the crawler's image and prints its name on stdout; what it does goes to stderr. */
export async function image(command: Command): Promise<number> {
  const { imageBase, imageTags } = await readOptions(command, 'image');
  const { findEngine } = await import('../containers/find-engine.js');
  const { buildCrawlerImage, removeOldImages } = await import('../runners/crawl/image.js');
  const signals = catchSignals();
  const stopping = new AbortController();
  const stopped = signals.first.then((signal) => {
    stopping.abort();
    return exitOfSignal(signal);
  });
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  const build = async () => {
    const engine = await findEngine('auto', process.env);
    say(`${engine.facts.kind} ${engine.facts.version}`);
    const built = await buildCrawlerImage({ engine, base: imageBase, tags: imageTags ?? [], signal: stopping.signal, say });
    const removed = await removeOldImages(engine, built);
    if (removed > 0) say(`removed ${removed} of earlier versions`);
    process.stdout.write(`${built}\n`);
    return 0;
  };
  try {
    return await Promise.race([build(), stopped]);
  } finally {
    signals.release();
  }
}
