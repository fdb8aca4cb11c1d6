import t from 'tap';
import { queueXecSource } from '../../../../src/wires/queue-xec/source/setup.js';
import { type Foreign, foreigners, KEY, TOKEN } from '../../../lab/queue-xec/foreign.js';
import { type JobState, sourceContract } from '../../../sources/contract.js';
import { FILES } from './fixtures.js';

sourceContract(
  t,
  'queue-xec',
  async (t) => {
    const { start } = foreigners(t);
    const masters: Foreign[] = [await start('foreign-master.js', { files: FILES })];
    const { port } = masters[0] as Foreign;
    const master = () => masters.at(-1) as Foreign;
    let count = 0;
    const peers = [{ host: '127.0.0.1', port }];
    return {
      setup: queueXecSource({ token: TOKEN, transferEncryptToken: KEY, listen: { host: '127.0.0.1' }, peers, lsd: false, dht: false }),
      push: async () => {
        count += 1;
        master().tell({ push: [{ id: `job-${count}`, data: count }] });
        return `job-${count}`;
      },
      // The Master recognizes a failure only by the content of the result, and knows nothing about a job that it has handed out.
      state: (name): JobState => {
        const result = masters.flatMap(({ results }) => results).find(({ jobID }) => jobID === name);
        if (result === undefined) return 'held';
        return (result.data as { error?: unknown } | null)?.error === undefined ? 'completed' : 'failed';
      },
      kill: () => master().kill(),
      restart: async () => masters.push(await start('foreign-master.js', { files: FILES, port })),
      misbehave: async () => {
        const deep = JSON.parse(`${'['.repeat(600)}${']'.repeat(600)}`) as unknown;
        master().tell({ push: [deep, null, { id: deep, data: 1 }, 'x'.repeat(3_000)] });
        return () => {};
      },
    };
  },
  { needsTheTime: 'members drop packets that are more than some seconds old; the source warns of it with `queue-xec-clock`' },
);
