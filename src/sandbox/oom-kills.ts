import { readFileSync } from 'node:fs';

const ROOT = '/sys/fs/cgroup';
const WAYS = [
  { controller: /^0::(.*)$/m, root: ROOT, file: 'memory.events.local' },
  { controller: /^\d+:(?:\w+,)*memory(?:,\w+)*:(.*)$/m, root: `${ROOT}/memory`, file: 'memory.oom_control' },
];

/**
 * Counts how many processes of a cgroup the kernel killed for memory, whether because of the cgroup's own limit or the machine's:
 * `oom_kill`, in `memory.events.local` of cgroup v2 and in `memory.oom_control` of v1. Undefined where the count is not available:
 * outside Linux, and in v2's root cgroup.
 */
export class OomKills {
  readonly #files: readonly string[];
  #seen: number | undefined;

  /** @param folder of one cgroup, such as `/sys/fs/cgroup/memory/x`; default that of this process, which its children share */
  constructor(folder?: string) {
    this.#files = folder === undefined ? ownFiles() : WAYS.map(({ file }) => `${folder}/${file}`);
    this.#seen = this.#read();
  }

  /** Whether there were further kills since the constructor or the previous call. */
  more(): boolean {
    const before = this.#seen;
    this.#seen = this.#read();
    return this.#seen !== undefined && before !== undefined && this.#seen > before;
  }

  #read(): number | undefined {
    for (const file of this.#files) {
      const count = /^oom_kill (\d+)$/m.exec(read(file))?.[1];
      if (count !== undefined) return Number(count);
    }
    return undefined;
  }
}

/** In a container the path may be the machine's, while the mounted folder is the container's own. */
function ownFiles(): string[] {
  const own = read('/proc/self/cgroup');
  return WAYS.flatMap(({ controller, root, file }) => {
    const path = controller.exec(own)?.[1];
    return path === undefined ? [] : [`${root}${path === '/' ? '' : path}/${file}`, `${root}/${file}`];
  });
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
