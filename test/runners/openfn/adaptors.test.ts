import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allowedSteps, installAdaptor } from '../../../src/runners/openfn/adaptors.js';
import { openRegistry } from '../../task/registry.js';

const steps = (...adaptors: string[]) => ({ id: 'r', steps: [{ id: 'a', adaptors }], input: {}, options: {} });
const allowed = (patterns: readonly string[], specifier: string) =>
  allowedSteps(steps(specifier), { allowed: patterns, install: true })[0]?.adaptors?.[0];

t.test('the owner names adaptors, or versions of them', async (t) => {
  t.equal(allowed(['@openfn/*'], '@openfn/language-http@7.2.10'), '@openfn/language-http@7.2.10');
  t.equal(
    allowed(['@openfn/language-http'], '@openfn/language-http'),
    '@openfn/language-http@latest',
    'without a version it is the latest',
  );
  t.equal(allowed(['@openfn/language-http@7.*'], '@openfn/language-http@7.2.10'), '@openfn/language-http@7.2.10');
  for (const [pattern, specifier] of [
    ['@openfn/language-http@7.*', '@openfn/language-http@8.0.0'],
    ['@openfn/language-http', '@openfn/language-http-evil@1.0.0'],
    ['@openfn/*', '@openfn.evil/x@1.0.0'],
    ['@openfn/*', 'x/@openfn/x@1.0.0'],
    ['*', 'x@npm:y@1.0.0'],
    ['*', 'x@$(id)'],
    ['*', ''],
  ] as const)
    t.throws(() => allowed([pattern], specifier), /does not allow it/, `${pattern} is not ${specifier}`);
});

t.test('an adaptor is installed under its name and version, without its scripts', { timeout: 60_000 }, async (t) => {
  await openRegistry(t, t.testdir());
  const folder = join(t.testdirName, 'adaptors');
  t.testdir({ adaptors: {} });
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "dependencies": {} }');
  await installAdaptor('scripted@1.0.0', folder, new AbortController().signal, {});
  const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  t.same(dependencies, { 'scripted_1.0.0': 'npm:scripted@1.0.0' }, 'which is where the engine looks');
  t.ok(existsSync(join(folder, 'node_modules', 'scripted_1.0.0', 'index.js')));
  t.notOk(existsSync(join(folder, 'node_modules', 'scripted_1.0.0', 'ran.json')));
  await t.rejects(installAdaptor('absent@1.0.0', folder, new AbortController().signal, {}), /404|not found/i);
});
