import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { OomKills } from '../../src/sandbox/oom-kills.js';

t.test('kills for memory, as both versions of cgroups tell of them', async (t) => {
  const told = {
    'memory.events.local': (kills: number) => `low 0\nhigh 0\nmax 7\noom 3\noom_kill ${kills}\noom_group_kill 0\n`,
    'memory.oom_control': (kills: number) => `oom_kill_disable 0\nunder_oom 0\noom_kill ${kills}\n`,
  };
  for (const [file, text] of Object.entries(told)) {
    const folder = t.testdir();
    const writeKills = (kills: number) => writeFileSync(join(folder, file), text(kills));
    writeKills(2);
    const kills = new OomKills(folder);
    t.notOk(kills.more(), file);
    writeKills(3);
    t.ok(kills.more());
    t.notOk(kills.more(), 'each is told once');
  }
  t.notOk(new OomKills(t.testdir()).more(), 'nobody tells');
  t.notOk(new OomKills().more(), 'of this process');
});
