import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import t from 'tap';
import { Master } from '../../../src/index.js';
import { OutgoingFiles } from '../../../src/sources/outgoing-files.js';
import type { SourceSetup } from '../../../src/sources/setup.js';
import { loadOrCreateKeyFile } from '../../../src/swarm/key-file.node.js';
import { parseToken } from '../../../src/swarm/token.js';
import { TrackerServer } from '../../../src/swarm/tracker-server.node.js';
import { joinMaster } from '../../../src/worker/join-master.js';
import { echoTask, temporaryFolder } from '../../lab/open-source.js';
import { sourceContract } from '../contract.js';

sourceContract(t, 'a Master of ours', async (t) => {
  const folder = temporaryFolder(t, 'master');
  let tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const task = echoTask(t);
  const startMaster = () => new Master({ ...shared, task, ledger: `sqlite:${join(folder, 'ledger.db')}` });
  let master = startMaster();
  t.teardown(() => master.close());
  const token = parseToken(master.token);
  const setup: SourceSetup = {
    name: 'ours',
    open: async ({ folder: own, clock, log, openOutbox }) => {
      const source = joinMaster({
        token,
        identity: loadOrCreateKeyFile(join(own, 'key.json')).keyPair,
        name: 'lab',
        outbox: await openOutbox(),
        outgoing: await OutgoingFiles.open({ folder: join(own, 'outgoing'), key: randomBytes(32), log }, []),
        facts: async () => ({ version: '0', concurrency: 4, isolation: 'none', platform: 'lab', labels: [], runners: ['task-module'] }),
        options: shared,
        clock,
        log,
      });
      source.start();
      return source;
    },
  };
  return {
    setup,
    push: async () => String(await master.push({ data: { n: 1 }, attempts: 1 })),
    state: async (name) => {
      const { state } = (await master.get(name)) ?? { state: 'failed' };
      if (state === 'completed' || state === 'failed') return state;
      return state === 'cancelled' ? 'failed' : state === 'leased' ? 'held' : 'waiting';
    },
    kill: () => master.close(),
    restart: async () => {
      master = startMaster();
      await master.service;
    },
    takeAway: (name) => master.cancel(name),
    // What a Master may send is validated in one place, which the fuzz tests attack; here its tracker simply stops responding.
    misbehave: async () => {
      const port = Number(new URL(tracker.url).port);
      await tracker.close();
      return () => {
        tracker = new TrackerServer();
        return tracker.start(port, '127.0.0.1');
      };
    },
  };
});
