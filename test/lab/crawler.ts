import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeFolder } from './remove-folder.js';

const bundle = fileURLToPath(new URL('../../../assets/crawler/crawler.mjs', import.meta.url));

export interface PageRecord {
  readonly requestId: string;
  readonly url: string;
  readonly worker?: string;
  readonly error?: string;
  readonly retries?: number;
  readonly [field: string]: unknown;
}

/** The bundled crawler in processes of its own, as it runs in its container. */
export class LabCrawlers {
  readonly folder = mkdtempSync(join(tmpdir(), 'peerwork-crawl-'));
  readonly #children = new Set<ChildProcess>();

  #started = 0;

  /** Starts one; its results go to a folder of its own unless `env` says otherwise. */
  start(actor: object | string, env: Readonly<Record<string, string>> = {}): LabCrawler {
    this.#started += 1;
    const results = env['PEERWORK_RESULTS'] || join(this.folder, `results-${this.#started}`);
    mkdirSync(results, { recursive: true });
    const config = typeof actor === 'string' ? actor : Buffer.from(JSON.stringify(actor)).toString('base64');
    const child = spawn(process.execPath, [bundle], {
      env: { PATH: process.env['PATH'], ACTOR_CONFIG: config, PEERWORK_RESULTS: results, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    return new LabCrawler(child);
  }

  /** Returns all complete lines of the results so far; an unfinished line of a killed crawler is ignored. */
  results(): PageRecord[] {
    const files = readdirSync(this.folder, { recursive: true, encoding: 'utf8' }).map((name) => join(this.folder, name));
    return files
      .filter((file) => file.endsWith('.ndjson'))
      .flatMap((file) =>
        readFileSync(file, 'utf8')
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line) as PageRecord),
      );
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await removeFolder(this.folder);
  }
}

export class LabCrawler {
  output = '';
  readonly #child: ChildProcess;
  readonly ended: Promise<{ readonly exitCode: number | null; readonly output: string }>;

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    this.ended = new Promise((resolve) => child.once('close', (exitCode) => resolve({ exitCode, output: this.output })));
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal);
  }
}
