import t from 'tap';
import type { Lease } from '../../../../src/job/source.js';
import type { OpenfnRun } from '../../../../src/wires/openfn/protocol.js';
import { openfnSource } from '../../../../src/wires/openfn/source/openfn-source.js';
import { Lightning } from '../../../lab/lightning.js';
import { sourceContract } from '../../../sources/contract.js';
import { job, oneStep, SECRET } from './harness.js';

sourceContract(
  t,
  'openfn',
  async (t) => {
    const lightning = await new Lightning().start();
    t.teardown(() => lightning.stop());
    const begun = new WeakMap<Lease, OpenfnRun>();
    const begin = async (lease: Lease) => {
      const run = begun.get(lease) ?? ((await lease.exchange?.ask({ ask: 'run' })) as OpenfnRun);
      begun.set(lease, run);
      return run;
    };
    return {
      setup: openfnSource({ url: lightning.url, secret: SECRET, backoffMs: [50, 400], messageMs: 10_000 }),
      runners: ['openfn'],
      push: async () => lightning.enqueue({ jobs: [job('a')] }),
      run: async (lease, outcome) => {
        const run = await begin(lease);
        if (outcome.state === 'completed') await oneStep()(run, (event) => lease.exchange?.tell(event), lease);
      },
      state: (name) => {
        const [end] = lightning.of(name, 'run:complete');
        if (end !== undefined) return end.payload['reason'] === 'success' ? 'completed' : 'failed';
        return lightning.queue.includes(name) ? 'waiting' : 'held';
      },
      kill: () => lightning.stop(),
      restart: () => lightning.start(),
      // The server no longer knows the run when its channel is joined again.
      takeAway: async (name, lease) => {
        await begin(lease);
        lightning.options = {
          meddle: ({ topic, event }) =>
            topic === `run:${name}` && event === 'phx_join' ? { kind: 'error', response: { reason: 'not found' } } : undefined,
        };
        lightning.cut();
      },
      misbehave: async () => {
        const answers: readonly unknown[] = [{ runs: 'many' }, { runs: [{ id: 7 }] }, null, [], { runs: [{ id: '', token: 't' }] }];
        let count = 0;
        lightning.options = {
          meddle: ({ event, ref, topic, joinRef }) => {
            if (event !== 'claim') return undefined;
            const response = answers[count++ % answers.length];
            const reply = JSON.stringify([joinRef, ref, topic, 'phx_reply', { status: 'ok', response }]);
            return { kind: 'raw', frames: ['not JSON', '[1,2]', Buffer.from([0, 255, 255, 255]), reply] };
          },
        };
        return () => {
          lightning.options = {};
        };
      },
    };
  },
  {
    neverGivesBack: 'a run that was not joined goes to another by the time limit of the server',
    keepsNothing: 'nothing of a run may touch the disk',
  },
);
