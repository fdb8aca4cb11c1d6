import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from './grid.js';

interface GuideBlock {
  readonly kind: string;
  readonly text: string;
  /** The file that the line above names, as in: `thumbnails/task.mjs`: */
  readonly file: string | undefined;
}

/** A page of docs that a user follows from its beginning to its end, and a test as well: what it says is what is done. */
export class Guide {
  readonly text: string;
  readonly blocks: readonly GuideBlock[];

  /** `page` is a path in docs/. */
  constructor(page: string) {
    this.text = readFileSync(join(packageRoot, 'docs', page), 'utf8');
    this.blocks = [...this.text.matchAll(/(.*)\n\n```(.*)\n([\s\S]*?)^```$/gm)].map(([, before = '', kind = '', text = '']) => ({
      kind,
      text,
      file: /`([\w./-]+)`:$/.exec(before)?.[1],
    }));
  }

  /** Puts the files that it shows where it says. */
  writeFiles(folder: string): void {
    for (const { file, text } of this.blocks) {
      if (file === undefined) continue;
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), text);
    }
  }

  /** The arguments of the commands of peerwork that it gives, in their order; `instead`: what stands there for the user's own addresses. */
  commands(instead: Readonly<Record<string, string>> = {}): string[][] {
    return this.#linesOf('sh')
      .map((line) => line.split(' ').map((word) => instead[word] ?? word))
      .flatMap(([program, ...args]) => (program === 'peerwork' ? [args] : []));
  }

  /** Its lines of `.env`, with these values in place of those of the same names. */
  env(instead: Readonly<Record<string, string>>): string {
    return this.#linesOf('env')
      .map((line) => line.slice(0, line.indexOf('=')))
      .map((name, at) => (instead[name] === undefined ? this.#linesOf('env')[at] : `${name}=${instead[name]}`))
      .join('\n');
  }

  #linesOf(kind: string): string[] {
    return this.blocks.filter((block) => block.kind === kind).flatMap(({ text }) => text.trim().split('\n'));
  }
}
