import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { complaintOf } from '../../containers/command-line.js';
import { checkImageName } from '../../containers/container-spec.js';
import type { FoundEngine } from '../../containers/find-engine.js';
import { PeerworkError } from '../../errors.js';
import { version } from '../../version.js';
import { packNode } from './pack-node.js';

const REPOSITORY = 'peerwork-crawler';
/** The base that the Dockerfile was written for; any other image with Node 20 on its path will do. */
const REGISTRY_BASE = 'docker.io/library/node:20-slim';
const PACKED_BASE = 'peerwork-crawler-base:host';
const IMPORT_MS = 180_000;
/** Includes a pull if one is needed. */
const BUILD_MS = 600_000;

const assets = fileURLToPath(new URL('../../../../assets/crawler', import.meta.url));

export interface ImageBuild {
  readonly engine: FoundEngine;
  /**
   * An image with Node 20. `host` packs the Node of this machine; `auto` uses node:20-slim if it is present, else this machine's Node if
   * the engine can run it, else pulls node:20-slim.
   */
  readonly base?: string;
  /** Additional names for the image. */
  readonly tags?: readonly string[];
  readonly signal: AbortSignal;
  /** Called with one line per step. */
  readonly say: (line: string) => void;
  readonly environment?: NodeJS.ProcessEnv;
}

/** Returns the name of the image of exactly this crawler. Rejects with `image-unbuildable` if the package is incomplete. */
export async function ownImage(): Promise<string> {
  try {
    const hash = createHash('sha256');
    for (const file of ['crawler.mjs', 'Dockerfile']) hash.update(await readFile(join(assets, file)));
    return `${REPOSITORY}:${version}-${hash.digest('hex').slice(0, 8)}`;
  } catch (thrown) {
    throw new PeerworkError('image-unbuildable', (thrown as Error).message, { cause: thrown });
  }
}

/** Builds the crawler's image on any engine, without a registry, and returns its name. Rejects with `image-unbuildable`. */
export async function buildCrawlerImage({
  engine,
  base = 'auto',
  tags = [],
  signal,
  say,
  environment = process.env,
}: ImageBuild): Promise<string> {
  const image = await ownImage();
  for (const tag of tags) checkImageName(tag);
  const chosen = base === 'auto' ? await chooseBase(engine, signal) : base;
  const run = (args: readonly string[], timeoutMs: number) => runEngine(engine, args, timeoutMs, signal);
  const build = async (from: string) => {
    say(`building ${image} on ${from}`);
    const names = [image, `${REPOSITORY}:latest`, ...tags].flatMap((name) => ['--tag', name]);
    await run(['build', '--build-arg', `BASE=${from}`, ...names, '--file', join(assets, 'Dockerfile'), assets], BUILD_MS);
  };
  if (chosen !== 'host') {
    checkImageName(chosen);
    await build(chosen);
    return image;
  }
  if (!canPack(engine))
    throw new PeerworkError('image-unbuildable', "the engine's machine is of another kind than this one, whose Node it could not run");
  say(`packing Node ${process.versions.node} of this machine`);
  try {
    await packNode(environment, (tar) => run(['import', '--change', 'ENV PATH=/bin:/usr/bin', tar, PACKED_BASE], IMPORT_MS));
    await build(PACKED_BASE);
  } finally {
    // Only removes the name: the built image keeps the layers.
    await engine.command.try(['image', 'rm', PACKED_BASE]);
  }
  return image;
}

/** Removes unused images of earlier versions; returns how many. */
export async function removeOldImages({ command }: FoundEngine, keep: string): Promise<number> {
  const { stdout } = await command.try(['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}', '--filter', `reference=${REPOSITORY}`]);
  const tag = keep.slice(keep.lastIndexOf(':'));
  let removed = 0;
  for (const name of stdout.split('\n')) {
    if (!/:\d+\.\d+\.\d+[\w.-]*-[0-9a-f]{8}$/.test(name) || name.endsWith(tag)) continue;
    if ((await command.try(['image', 'rm', name])).exitCode === 0) removed += 1;
  }
  return removed;
}

async function chooseBase(engine: FoundEngine, signal: AbortSignal): Promise<string> {
  const { exitCode } = await engine.command.try(['image', 'inspect', REGISTRY_BASE], { signal });
  if (exitCode === 0) return REGISTRY_BASE;
  return canPack(engine) ? 'host' : REGISTRY_BASE;
}

function canPack({ facts }: FoundEngine): boolean {
  return process.platform === 'linux' && facts.os === 'linux' && facts.arch === process.arch;
}

async function runEngine({ command }: FoundEngine, args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<void> {
  const { exitCode, stderr } = await command.try(args, { timeoutMs, signal });
  if (exitCode === 0) return;
  if (signal.aborted) throw new PeerworkError('cancelled');
  const why = exitCode === undefined ? `${args[0]} took longer than ${timeoutMs / 1_000} s` : complaintOf(stderr);
  throw new PeerworkError('image-unbuildable', why);
}
