import { access, constants } from 'node:fs/promises';
import type { Clock } from '../clock.js';
import { bytesBelow } from '../kit/bytes-below.js';
import type { CommandLine } from './command-line.js';
import type { EngineFacts } from './engine-facts.js';
import { inspectedStorage, readEngineJson } from './engine-json.js';

/** Only the needed parts: podman prints the whole as a list. */
const STORAGE = '{"State":{{json .State}},"GraphDriver":{{json .GraphDriver}},"Mounts":{{json .Mounts}}}';
/** A query takes a process, and the engine walks the layer. */
const QUERY_MS = 2_000;

/** Whether the layers and volumes of containers can be read without the engine: they belong to root. */
export function seesLayers(facts: Pick<EngineFacts, 'local'>): boolean {
  return facts.local && process.getuid?.() === 0;
}

/**
 * Counts how much a container has written outside of mounts. Engines can limit that on few file systems only (overlay2 on XFS with
 * project quotas), so it is counted: in the folders of the layer and the volumes where they are readable, else by the engine's own count
 * of the layer.
 */
export class WritableLayer {
  readonly #facts: EngineFacts;
  readonly #command: CommandLine;
  readonly #clock: Clock;
  readonly #name: string;
  /** Undefined: not known yet. Empty: not readable. */
  #folders: readonly string[] | undefined;
  #lastQuery: { readonly bytes: number; readonly at: number } | undefined;

  constructor({ facts, command, clock }: { facts: EngineFacts; command: CommandLine; clock: Clock }, name: string) {
    this.#facts = facts;
    this.#command = command;
    this.#clock = clock;
    this.#name = name;
  }

  /**
   * Returns the bytes; 0 while there is no such container, infinite if they cannot be counted. Stops counting beyond `enough`. Never
   * rejects.
   */
  async bytes(enough: number): Promise<number> {
    this.#folders ??= await this.#find();
    if (this.#folders === undefined) return 0;
    if (this.#folders.length === 0) return this.#queryEngine();
    let bytes = 0;
    for (const folder of this.#folders) if (bytes <= enough) bytes += await bytesBelow(folder, enough - bytes);
    return bytes;
  }

  async #find(): Promise<readonly string[] | undefined> {
    if (!seesLayers(this.#facts)) return [];
    const { stdout, exitCode } = await this.#command.try(['inspect', '--format', STORAGE, this.#name]);
    if (exitCode !== 0) return undefined;
    const { State, GraphDriver, Mounts = [] } = readEngineJson(inspectedStorage, stdout) ?? {};
    // Until it is running, it has no volumes yet.
    if (State?.Running !== true) return undefined;
    const layer = GraphDriver?.Data?.UpperDir;
    if (layer === undefined) return [];
    const volumes = Mounts.flatMap(({ Type, Source }) => (Type === 'volume' && Source ? [Source] : []));
    const readable = await access(layer, constants.R_OK | constants.X_OK).then(
      () => true,
      () => false,
    );
    return readable ? [layer, ...volumes] : [];
  }

  async #queryEngine(): Promise<number> {
    const now = this.#clock.now();
    if (this.#lastQuery !== undefined && now - this.#lastQuery.at < QUERY_MS) return this.#lastQuery.bytes;
    const { stdout, exitCode } = await this.#command.try(['inspect', '--size', '--format', '{{.SizeRw}}', this.#name]);
    const bytes = exitCode === 0 ? Number(/^\d+/.exec(stdout.trim())?.[0] ?? 0) : 0;
    this.#lastQuery = { bytes, at: this.#clock.now() };
    return bytes;
  }
}
