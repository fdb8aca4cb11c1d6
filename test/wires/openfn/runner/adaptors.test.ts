import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allowedSteps, installAdaptor, whitelistOf } from '../../../../src/wires/openfn/runner/adaptors.js';
import { openRegistry } from '../../../task/registry.js';

const run = (...adaptors: string[]) => ({ id: 'r', steps: [{ id: 'a', adaptors }], input: {}, options: {} });
const allow = (patterns: readonly string[], specifier: string, monorepo?: string) => {
  const { steps, refused } = allowedSteps(run(specifier), {
    allowed: patterns,
    install: true,
    ...(monorepo !== undefined && { monorepo }),
  });
  return { named: steps[0]?.adaptors?.[0], linker: steps[0]?.linker, refused };
};

t.test('the owner names adaptors, or versions of them', async (t) => {
  for (const [pattern, specifier, named = specifier] of [
    ['@openfn/*', '@openfn/language-http@7.2.10'],
    ['@openfn/language-http', '@openfn/language-http', '@openfn/language-http@latest'],
    ['@openfn/language-http@7.*', '@openfn/language-http@7.2.10'],
    ['*', 'lodash@4.0.0'],
  ] as const)
    t.match(allow([pattern], specifier), { named, refused: [] }, `${pattern} is ${specifier}`);
});

t.test('an adaptor of another name is left to the engine, which neither installs it nor lets code import it', async (t) => {
  for (const [pattern, specifier] of [
    ['@openfn/*', 'lodash@4.0.0'],
    ['@openfn/language-http', '@openfn/language-http-evil@1.0.0'],
    ['@openfn/*', '@openfn.evil/x@1.0.0'],
  ] as const) {
    t.match(allow([pattern], specifier), { named: specifier, refused: [specifier] });
    for (const text of [specifier, specifier.slice(0, specifier.lastIndexOf('@'))])
      t.notOk(
        whitelistOf([pattern]).some((allowed) => allowed.test(text)),
        `${pattern} is not ${text}`,
      );
  }
  for (const path of ['/etc/evil.js', './evil.js', '../evil.js'])
    t.notOk(
      whitelistOf(['*']).some((allowed) => allowed.test(path)),
      'a path never is',
    );
});

t.test('what the engine would take for something else is refused', async (t) => {
  for (const [pattern, specifier] of [
    ['@openfn/language-http@7.*', '@openfn/language-http@8.0.0'],
    ['@openfn/*', 'x/@openfn/x@1.0.0'],
    ['*', 'x@npm:y@1.0.0'],
    ['*', 'x@$(id)'],
    ['*', ''],
  ] as const)
    t.throws(() => allow([pattern], specifier), { message: `module blacklisted: ${specifier}` });
});

t.test('an adaptor of the owner’s own folder', async (t) => {
  const path = join('/adaptors', 'packages', 'http');
  t.match(allow(['@openfn/*'], '@openfn/language-http@local', '/adaptors').linker, { '@openfn/language-http': { path, version: 'local' } });
  t.throws(() => allow(['@openfn/*'], '@openfn/language-http@local'), /no folder of adaptors/);
  t.match(allow(['@openfn/language-http'], '@openfn/x@local', '/adaptors'), { linker: undefined, refused: ['@openfn/x@local'] });
  const foreign = { ...run('@openfn/language-http@1.0.0').steps[0], linker: { '@openfn/language-http': { path: '/etc', version: '1' } } };
  const { steps } = allowedSteps({ ...run(), steps: [foreign as never] }, { allowed: ['@openfn/*'], install: true });
  t.equal(steps[0]?.linker, undefined, 'a run names no path by itself');
});

t.test('an adaptor is installed under its name and version, without its scripts', async (t) => {
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
