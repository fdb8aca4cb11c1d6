import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

/** Installs crew and its user interface from npm into a folder, without install scripts. Resolves with false if they are not available. */
export async function installCrew(folder: string, command: readonly string[]): Promise<boolean> {
  const { failed } = await execa('npm', [...command, '--no-audit', '--no-fund', '--prefix', folder], { cwd: folder, reject: false });
  return !failed && existsSync(join(folder, 'node_modules', '.bin', 'crew-ui'));
}
