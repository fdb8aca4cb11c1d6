import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The part of a tap test that is needed here; `t` itself fits. */
interface SkippableTest {
  plan(count: number, reason?: string): void;
  fail(message: string): unknown;
}

/** System folders that are not always, or never, in the PATH of an ordinary shell. */
const systemFolders = ['/usr/sbin', '/sbin', '/usr/local/sbin', '/usr/lib/podman', '/usr/libexec/podman'];

/**
 * True if this machine can run a test that needs the given programs. If not, the whole test `t` is skipped with the
 * Debian packages to install, and the caller returns at once:
 *
 *     if (!requireTools(t, { turnserver: 'coturn', nft: 'nftables' }, { root: true })) return
 *
 * With PEERWORK_TEST_REQUIRE=all (in CI) a missing tool fails the test instead, so that nothing goes untested unseen.
 */
export function requireTools(
  t: SkippableTest,
  tools: Readonly<Record<string, string>>,
  options: { readonly root?: boolean } = {},
): boolean {
  const missing = Object.entries(tools).filter(([tool]) => findTool(tool) === undefined);
  const wants: string[] = [];
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(([, name]) => name))].sort();
    wants.push(`${missing.map(([tool]) => tool).join(', ')} missing: apt-get install ${packages.join(' ')}`);
  }
  if (options.root && process.getuid?.() !== 0) wants.push('needs root');
  return requireThat(t, wants.length === 0, wants.join('; '));
}

/** Like `requireTools` for a requirement that is not a program: skips, or fails under PEERWORK_TEST_REQUIRE=all, unless `there` is true. */
export function requireThat(t: SkippableTest, there: boolean, reason: string): boolean {
  if (there) return true;
  if (process.env['PEERWORK_TEST_REQUIRE'] === 'all') t.fail(`required here, but ${reason}`);
  else t.plan(0, reason);
  return false;
}

/** Returns the path of a program, or undefined. */
export function findTool(tool: string): string | undefined {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), ...systemFolders]) {
    if (folder === '') continue;
    const path = join(folder, tool);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here: continue searching.
    }
  }
  return undefined;
}
