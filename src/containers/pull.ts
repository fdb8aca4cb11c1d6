import { PeerworkError } from '../errors.js';
import type { Json } from '../job/job.js';
import { within } from '../kit/deadline.js';
import { type CommandLine, complaintOf } from './command-line.js';

export interface PullOptions {
  readonly command: CommandLine;
  readonly image: string;
  readonly signal: AbortSignal;
  /** Limit for the whole pull. */
  readonly timeoutMs: number;
  readonly onProgress: (progress: Json) => void;
}

/** A registry that has sent nothing by then counts as absent: the engine itself would keep trying for minutes. */
const FIRST_OUTPUT_MS = 20_000;

/** Pulls an image; rejects with `image-missing`. Progress: `{ pull, layers, done }`. */
export async function pullImage({ command, image, signal, timeoutMs, onProgress }: PullOptions): Promise<void> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), FIRST_OUTPUT_MS);
  const layers = new Map<string, boolean>();
  const read = (line: string) => {
    // Podman prints this before it has contacted any registry.
    if (/^trying to pull/i.test(line)) return;
    clearTimeout(timer);
    const { layer, done } = layerOf(line.trim());
    const known = layers.get(layer);
    if (layer === '' || known === true || known === done) return;
    layers.set(layer, done);
    onProgress({ pull: image, layers: layers.size, done: [...layers.values()].filter(Boolean).length });
  };
  const result = await within({ signals: [signal, silence.signal] }, (either) =>
    command.try(['pull', image], { timeoutMs, signal: either, onLine: read }),
  );
  clearTimeout(timer);
  if (result.exitCode === 0) return;
  if (signal.aborted) throw new PeerworkError('cancelled');
  if (silence.signal.aborted)
    throw new PeerworkError('image-missing', `${image}: its registry did not respond within ${FIRST_OUTPUT_MS / 1_000} s`);
  const why = result.exitCode === undefined ? `it took longer than ${Math.round(timeoutMs / 1_000)} s` : complaintOf(result.stderr);
  throw new PeerworkError('image-missing', `${image}: ${why}`);
}

/**
 * Parses the progress that docker prints on stdout (`<layer>: Pull complete`) and podman on stderr (`Copying blob sha256:<layer> done`;
 * 4.3 prints nothing else about the end of a layer).
 */
function layerOf(line: string): { readonly layer: string; readonly done: boolean } {
  const docker = /^([0-9a-f]{8,}): (.*)$/.exec(line);
  if (docker !== null) return { layer: docker[1] ?? '', done: /^(?:pull complete|already exists)/i.test(docker[2] ?? '') };
  const podman = /^copying blob (?:sha256:)?([0-9a-f]{8,})(.*)$/i.exec(line);
  return { layer: podman?.[1] ?? '', done: /done|skipped|exists/i.test(podman?.[2] ?? '') };
}
