import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from './grid.js';

interface GuideBlock {
  readonly kind: string;
  readonly text: string;
  /** The file named by the line above the block, as in: `thumbnails/task.mjs`: */
  readonly file: string | undefined;
}

/** A page of docs that a user follows from beginning to end, and so does a test: it executes what the page says. */
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

  /** Writes the files shown on the page to their places. */
  writeFiles(folder: string): void {
    for (const { file, text } of this.blocks) {
      if (file === undefined) continue;
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), text);
    }
  }

  /** Returns the arguments of the page's peerwork commands, in order; `instead` replaces placeholders for the user's own addresses. */
  commands(instead: Readonly<Record<string, string>> = {}): string[][] {
    return this.#linesOf('sh')
      .map((line) => line.split(' ').map((word) => instead[word] ?? word))
      .flatMap(([program, ...args]) => (program === 'peerwork' ? [args] : []));
  }

  /** Returns its lines of `.env`, with these values replacing those of the same names. */
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
