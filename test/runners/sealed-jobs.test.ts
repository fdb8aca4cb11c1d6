import { fileURLToPath } from 'node:url';
import t from 'tap';
import { findSandbox } from '../../src/sandbox/sandbox.js';
import type { JobTrial } from '../lab/job-trial.js';
import { findTool, requireThat, requireTools } from '../lab/require.js';
import { runAs, users } from '../lab/users.js';

const program = fileURLToPath(new URL('../lab/job-trial.js', import.meta.url));

for (const user of users) {
  for (const sandbox of ['off', 'required'] as const) {
    t.test(`what Node leaves open is shut, and what tasks need works: sandbox ${sandbox}, started as ${user}`, async (t) => {
      if (!requireTools(t, { setpriv: 'util-linux' })) return;
      if (sandbox === 'required') {
        if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
        const wish = {
          sandbox: 'auto',
          network: 'allow',
          memoryMb: 256,
          scratchBytes: 2 ** 30,
          bubblewrap: findTool('bwrap') ?? '',
        } as const;
        if (!requireThat(t, (await findSandbox(wish)).tier === 'bwrap', 'bubblewrap is not allowed to make namespaces here')) return;
      }
      const trial: JobTrial = JSON.parse(await runAs(t, user, program, [sandbox]));
      t.strictSame(trial.doors, { state: 'completed', output: [] }, 'doors that were found open');
      t.strictSame(trial.outside, ['secret'], 'nothing was written where no job may write');
      t.strictSame(trial.traces, { state: 'completed', output: [0, 1] }, 'trace files lie in its own folder, wherever it has gone');
      t.match(trial.databases, { state: 'completed', output: /^(ERR_|SQLITE)/ });
      t.match(trial.needs, {
        state: 'completed',
        output: {
          wasm: true,
          scrypt: 32,
          keys: 'public',
          gzip: 'text',
          fetch: 'from a server',
          lookup: '127.0.0.1',
          interfaces: 'object',
          cpus: true,
          report: 'string',
          file: 'x',
          random: 8,
        },
      });
    });
  }
}
