import { PeerworkError } from '../errors.js';
import { faultAmong, foldPath, pathFault } from '../kit/portable-path.js';

/** What is wrong with a task's path on its own; undefined if nothing is. */
export function assetPathFault(path: string): string | undefined {
  const fault = pathFault(path);
  if (fault !== undefined) return fault;
  return foldPath(path.split('/')[0] ?? '') === 'node_modules' ? 'node_modules is made by the worker, not sent' : undefined;
}

/** Throws `asset-path-unsafe` for the first path that a task may not carry, alone or next to the others. */
export function checkAssetPaths(paths: Iterable<string>): void {
  const found = faultAmong(paths, assetPathFault);
  if (found !== undefined) throw new PeerworkError('asset-path-unsafe', `${found.path}: ${found.fault}`);
}
