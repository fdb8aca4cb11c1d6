#!/usr/bin/env node
// The front door: says plainly what is missing before anything is imported that could fail without it.
import { existsSync } from 'node:fs';

// Else Node opens its inspector on this signal, which jobs of the same user could send before src/sandbox/inspector.ts is loaded.
process.on('SIGUSR1', () => {});

// The title replaces the arguments in the process list, where a `--token` would be for all to see.
process.title = 'peerwork';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const main = new URL('../build/src/cli/bundle/main.js', import.meta.url);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`peerwork: Node 20.19 or newer is needed, this is ${process.version}.`);
  process.exitCode = 2;
} else if (!(await isReady())) {
  console.error('peerwork: it is not built yet. Run `npm run build` in its folder first.');
  process.exitCode = 2;
} else {
  const run = await import(main.href).then((module) => module.main, refuse);
  process.exitCode = await run(process.argv.slice(2));
  // Native engines may keep threads for a moment; a command that has ended must not hang on them.
  setTimeout(() => process.exit(), 2_000).unref();
}

/** Where a process may open too few files even the error table cannot be read. */
function refuse(thrown) {
  if (thrown.code !== 'EMFILE' && thrown.code !== 'ENFILE') throw thrown;
  const hint = 'Raise the limit (`ulimit -n 65536`, or the service’s `LimitNOFILE=`), or run fewer programs.';
  console.error(`peerwork: Too many files are open: its own cannot be read. ${hint} [files-exhausted]`);
  return () => 1;
}

/** A fresh clone is made ready by the first command that is typed in it, whatever that is; an installed package comes built. */
async function isReady() {
  const there = (path) => existsSync(new URL(`../${path}`, import.meta.url));
  if (!there('scripts/setup.mjs')) return existsSync(main);
  if (existsSync(main) && there('build/.built') && there('node_modules')) return true;
  console.error('peerwork: this clone is used for the first time: what it needs is installed and built, which takes some minutes.');
  const { setUp } = await import('../scripts/setup.mjs');
  await setUp({ forUse: true });
  return existsSync(main);
}
