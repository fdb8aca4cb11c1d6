import { existsSync, mkdirSync, readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { removeFolder } from '../../lab/remove-folder.js';
import { findTool } from '../../lab/require.js';

interface Tree {
  reify(options: object): Promise<unknown>;
  loadVirtual(): Promise<unknown>;
  buildIdealTree(): Promise<unknown>;
}

/** npm's own library, from the npm that is installed here. Undefined if it is not where it usually is. */
export function findArborist(): (new (options: object) => Tree) | undefined {
  const npm = findTool('npm');
  if (npm === undefined) return undefined;
  const cli = realpathSync(npm);
  const library = join(dirname(dirname(cli)), 'node_modules', '@npmcli', 'arborist');
  return existsSync(library) ? (createRequire(cli)(library) as new (options: object) => Tree) : undefined;
}

/** What `npm ci --ignore-scripts` does, in this process. Never rejects: what npm refuses is as good as installed for whoever looks at what it did. */
export class PlainNpm {
  readonly #Arborist: new (
    options: object,
  ) => Tree;
  readonly #folder: string;
  readonly #registry: string;
  #count = 0;

  constructor(Arborist: new (options: object) => Tree, folder: string, registry: string) {
    this.#Arborist = Arborist;
    this.#folder = folder;
    this.#registry = registry;
  }

  /** Resolves with the folder, and the fault if there was one; `done` removes it. */
  async install(
    packageJson: string,
    lock: string,
  ): Promise<{ readonly path: string; readonly fault: string | undefined; done(): Promise<void> }> {
    this.#count += 1;
    const path = join(this.#folder, String(this.#count));
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'package.json'), packageJson);
    writeFileSync(join(path, 'package-lock.json'), lock);
    const options = {
      path,
      cache: join(this.#folder, 'cache'),
      registry: this.#registry,
      audit: false,
      fund: false,
      ignoreScripts: true,
      binLinks: false,
      save: false,
      omit: ['dev'],
      fetchRetries: 0,
      retry: { retries: 0 },
      timeout: 5_000,
      progress: false,
    };
    let fault: string | undefined;
    try {
      await new this.#Arborist(options).loadVirtual();
      const tree = new this.#Arborist(options);
      await tree.buildIdealTree();
      await tree.reify(options);
    } catch (error) {
      fault = error instanceof Error ? error.message : String(error);
    }
    return { path, fault, done: () => removeFolder(path) };
  }
}

/** Every file below a folder, links not followed but named. */
export function filesBelow(folder: string, prefix = ''): { readonly path: string; readonly link: boolean }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) return filesBelow(join(folder, entry.name), `${path}/`);
    return [{ path, link: !entry.isFile() }];
  });
}
