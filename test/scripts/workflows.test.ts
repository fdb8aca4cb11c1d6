import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import * as v from 'valibot';
import { parse } from 'yaml';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = join(root, '.github', 'workflows');
const workflows = readdirSync(folder).filter((name) => name.endsWith('.yml'));

/** Commands of npm itself that workflows may use. */
const OF_NPM = new Set(['ci', 'publish']);

const step = v.looseObject({ uses: v.optional(v.string()), run: v.optional(v.string()) });
const workflowSchema = v.looseObject({
  on: v.record(v.string(), v.unknown()),
  permissions: v.record(v.string(), v.string()),
  concurrency: v.looseObject({ group: v.string() }),
  jobs: v.record(
    v.string(),
    v.looseObject({
      uses: v.optional(v.string()),
      'timeout-minutes': v.optional(v.number()),
      permissions: v.optional(v.record(v.string(), v.string())),
      steps: v.optional(v.array(step), []),
    }),
  ),
});
const read = (name: string) => v.parse(workflowSchema, parse(readFileSync(join(folder, name), 'utf8')));
const { scripts } = v.parse(
  v.looseObject({ scripts: v.record(v.string(), v.string()) }),
  JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')),
);

t.test('workflows are YAML with jobs, and each script that they call is there', async (t) => {
  t.same(workflows.toSorted(), ['release.yml', 'test.yml']);
  for (const name of workflows) {
    const commands = Object.values(read(name).jobs).flatMap(({ steps }) => steps.flatMap(({ run = '' }) => run.split('\n')));
    t.not(commands.filter(Boolean).length, 0, `${name} runs something`);
    for (const command of commands) {
      const [, script] = /\bnpm (?:run )?([\w:-]+)/.exec(command) ?? [];
      if (script !== undefined) t.ok(script in scripts || OF_NPM.has(script), `${name}: npm ${script}`);
      const [, file] = /(?:\bnode |^)(\.?[\w.-]+\/[\w./-]+)/.exec(command) ?? [];
      if (file !== undefined) t.ok(existsSync(join(root, file)), `${name}: ${file}`);
    }
  }
});

t.test('workflows can read and no more, unless a job says what it needs it for', async (t) => {
  const writers = workflows.flatMap((name) =>
    Object.entries(read(name).jobs).flatMap(([job, { permissions = {} }]) =>
      Object.entries(permissions).flatMap(([what, level]) => (level === 'write' ? [`${name} ${job}: ${what}`] : [])),
    ),
  );
  t.same(writers, ['release.yml publish: id-token', 'release.yml notes: contents']);
  for (const name of workflows) t.same(read(name).permissions, { contents: 'read' }, name);
});

t.test('actions are pinned to a major version, and jobs have a time limit', async (t) => {
  for (const name of workflows) {
    for (const [job, { uses, steps, ...rest }] of Object.entries(read(name).jobs)) {
      for (const { uses: action } of steps) if (action !== undefined) t.match(action, /^actions\/[\w-]+@v\d+$/, `${name} ${job}`);
      if (uses !== undefined) t.ok(existsSync(join(root, uses)), `${name} ${job}: ${uses}`);
      else t.type(rest['timeout-minutes'], 'number', `${name} ${job}`);
    }
  }
});

t.test('a release needs the version of package.json and a dated part of the changelog', async (t) => {
  const release = (version: string, changelog: string) => {
    const folder = t.testdir({ 'package.json': '{"version":"1.2.0"}', 'CHANGELOG.md': '' });
    writeFileSync(join(folder, 'CHANGELOG.md'), changelog);
    return spawnSync(process.execPath, [join(root, 'scripts', 'release-notes.mjs'), version, folder], { encoding: 'utf8' });
  };
  const dated = '# Changelog\n\n## 1.2.0 2027-01-31\n\n- One.\n\n## 1.1.0 2027-01-01\n\n- Old.\n';
  t.match(release('1.2.0', dated), { status: 0, stdout: /^- One\.\n$/ });
  t.match(release('1.3.0', dated), { status: 1, stderr: /package\.json has version 1\.2\.0/ });
  t.match(release('1.2.0', dated.replace('2027-01-31', 'Unreleased')), { status: 1, stderr: /no dated part/ });
  t.match(release('1.2.0', '# Changelog\n\n## 1.2.0 2027-01-31\n\n## 1.1.0 2027-01-01\n'), { status: 1, stderr: /is empty/ });
});
