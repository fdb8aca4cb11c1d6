import { mkdtemp, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { removeTree } from '../../src/kit/remove-tree.js';

/** Creates an empty folder that is removed after the test. */
export async function home(t: Test): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'peerwork-task-')));
  t.teardown(() => removeTree(folder));
  return folder;
}
