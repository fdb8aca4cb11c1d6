// Completes package-lock.json: if a registry lacks the binaries of some platform, npm omits them from the lockfile, and `npm ci`
// then refuses it everywhere. Run it after `npm install`; test/lockfile.test.ts reports when it is needed.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const file = join(dirname(dirname(fileURLToPath(import.meta.url))), 'package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8'));
const OS = /\b(android|darwin|freebsd|linux|openbsd|sunos|win32)\b/;
const CPU = /\b(arm64|arm|ia32|loong64|ppc64|riscv64|s390x|x64)\b/;
const LIBC = /\b(musl|gnu)(eabihf)?\b/;

for (const owner of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
    const [os, cpu, libc] = [OS, CPU, LIBC].map((pattern) => pattern.exec(name)?.[1]);
    const isExact = /^\d+\.\d+\.\d+$/.test(version);
    if (lock.packages[`node_modules/${name}`] || !os || !cpu || !isExact) continue;
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      ...(owner.dev ? { dev: true } : {}),
      ...(libc ? { libc: [libc === 'gnu' ? 'glibc' : libc] } : {}),
      optional: true,
      os: [os],
    };
    console.error(`lock: added ${name} ${version}`);
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
