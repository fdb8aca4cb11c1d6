import t from 'tap';
import { readTaskModuleSettings } from '../../src/task/task-settings.js';

t.test('a task.json beside code says what the task may reach and whose process it has', async (t) => {
  t.same(readTaskModuleSettings('{}'), { network: 'internet', process: 'shared' });
  t.same(readTaskModuleSettings('{"network":"lan","process":"per-job"}'), { network: 'lan', process: 'per-job' });
  const hosts = ['api.example.org:443', '192.168.1.20'];
  t.same(readTaskModuleSettings(JSON.stringify({ network: hosts })).network, hosts);
  t.same(readTaskModuleSettings(JSON.stringify({ network: { hosts } })).network, hosts, 'by its name');
});

t.test('what is written wrong is refused with its place', async (t) => {
  for (const [text, message] of [
    ['{"network":"all"}', /task\.json: network: must be "none", "internet", "lan" or a list/],
    ['{"network":{"hosts":["nas"]}}', /task\.json: network/],
    ['{"network":{"hosts":[],"ports":[]}}', /task\.json: network/],
    ['{"networks":"none"}', /task\.json: networks: no setting has this name/],
    ['{"process":"own"}', /task\.json: process: must be "shared" or "per-job"/],
    ['[]', /task\.json/],
    ['{', /task\.json/],
    [`{"network":${'['.repeat(100)}${']'.repeat(100)}}`, /task\.json/],
  ] as const)
    t.throws(() => readTaskModuleSettings(text), { code: 'task-settings-invalid', message }, text.slice(0, 60));
});
