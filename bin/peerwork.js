#!/usr/bin/env node
// The front door: says plainly what is missing before anything is imported that could fail without it.
import { existsSync } from 'node:fs';

// Else Node opens its inspector on this signal, which jobs of the same user could send before src/sandbox/inspector.ts is loaded.
process.on('SIGUSR1', () => {});

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const main = new URL('../build/src/cli/bundle/main.js', import.meta.url);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`peerwork: Node 20.19 or newer is needed, this is ${process.version}.`);
  process.exitCode = 2;
} else if (!existsSync(main)) {
  console.error('peerwork: it is not built yet. Run `npm run build` in its folder first.');
  process.exitCode = 2;
} else {
  const { main: run } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2));
  // Native engines may keep threads for a moment; a command that has ended must not hang on them.
  setTimeout(() => process.exit(), 2_000).unref();
}
