import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../../../src/clock.js';
import type { PeerworkError } from '../../../../src/errors.js';
import { Channel } from '../../../../src/wires/openfn/source/channel.js';
import { LightningSocket } from '../../../../src/wires/openfn/source/socket.js';
import type { Answer, SeenRequest } from '../../../lab/lightning.js';
import { seededRandom } from '../../../lab/seeded-random.js';
import { until } from '../../../lab/until.js';
import { at, job, line, oneStep, silentLog, start, started, startLightning } from './harness.js';

/** Replaces the reply to the first request of this kind only. */
const once = (event: string, answer: Answer) => {
  let done = false;
  return (request: SeenRequest) => {
    if (done || request.event !== event) return undefined;
    done = true;
    return answer;
  };
};

/**
 * A TCP proxy to the port that can freeze its connections: they stay open at both ends but pass nothing. Connections made afterwards work.
 */
async function openProxy(t: Test, port: number): Promise<{ readonly port: number; freeze(): void }> {
  const sockets = new Set<Socket>();
  let frozen = 0;
  let made = 0;
  const server = createServer((near) => {
    const number = ++made;
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', (bytes) => number > frozen && to.write(bytes));
      from.on('close', () => number > frozen && to.destroy());
      from.on('error', () => {});
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    freeze: () => {
      frozen = made;
    },
  };
}

/** A promise and the function that resolves it. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

const ends = { event: 'step-end', durationMs: 1, next: [], withheld: false, state: { data: 1 } } as const;

t.test('the server is killed in the middle of a run and started again: the run goes on, and everything arrives in order', async (t) => {
  const { passed, open } = gate();
  const h = await start(t, {
    script: async (_, tell) => {
      started(tell);
      tell({ event: 'step-start', at: at(), step: 'a' });
      await passed;
      for (let each = 0; each < 5; each += 1) tell(line(`line ${each}`));
      tell({ ...ends, at: at(), step: 'a' });
      tell({ event: 'end', at: at(), state: { data: 1 } });
      return undefined;
    },
  });
  const { lightning } = h;
  const id = lightning.enqueue({ jobs: [job('a')] });
  await lightning.until(() => lightning.of(id, 'step:start').length > 0);
  await lightning.stop();
  open();
  await until(() => h.outcomes.size > 0);
  await lightning.start();
  t.match(await lightning.completed(id), { reason: 'success', final_state: { data: 1 } });
  t.same(
    lightning
      .of(id)
      .map(({ event, payload }) => (event === 'run:log' ? String((payload['message'] as string[])[0]).slice(0, 12) : event))
      .slice(5),
    ['step:start', 'phx_join', 'line 0', 'line 1', 'line 2', 'line 3', 'line 4', 'step:complete', 'Run complete', 'run:complete'],
  );
  t.match(h.warnings, [{ code: 'openfn-unreachable' }]);
  const next = lightning.enqueue({ jobs: [job('a')] });
  t.match(await lightning.completed(next), { reason: 'success' }, 'and the next run is claimed');
});

for (const event of ['step:complete', 'run:complete'])
  for (const after of [false, true])
    t.test(`the connection is cut at ${event}, ${after ? 'after' : 'before'} the server has taken it: it is sent once more`, async (t) => {
      const h = await start(t, { lightning: { meddle: once(event, { kind: 'cut', after }) } });
      const { lightning } = h;
      const id = lightning.enqueue({ jobs: [job('a')] });
      await lightning.until(() => lightning.of(id, 'phx_leave').length > 0);
      t.equal(lightning.of(id, event).length, after ? 2 : 1);
      t.same(lightning.of(id, event)[0]?.payload, lightning.of(id, event).at(-1)?.payload, 'the very same');
    });

t.test('a server that goes away again and again: every event is sent until it is answered', async (t) => {
  const cuts = new Map([
    ['run:log', 2],
    ['step:complete', 4],
    ['run:complete', 4],
  ]);
  const meddle = ({ event }: SeenRequest): Answer | undefined => {
    const left = cuts.get(event) ?? 0;
    cuts.set(event, left - 1);
    return left > 0 ? { kind: 'cut', after: false } : undefined;
  };
  const h = await start(t, { lightning: { meddle } });
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  t.match(await h.lightning.completed(id), { reason: 'success' });
  t.same(
    h.lightning
      .of(id)
      .map(({ event }) => event)
      .filter((event) => event !== 'phx_join' && event !== 'run:log')
      .slice(1),
    ['run:start', 'step:start', 'step:complete', 'run:complete'],
  );
  t.match(
    h.lightning.of(id, 'run:log').map(({ payload }) => (payload['message'] as string[])[0]),
    [/^Payload limit/, /^Versions/, 'in a', /^Run complete/],
  );
});

t.test('a line that is dead without having been closed: what went into it is sent over the next one', async (t) => {
  const lightning = await startLightning(t);
  const road = await openProxy(t, Number(new URL(lightning.url).port));
  const h = await start(t, {
    lightning,
    url: `ws://127.0.0.1:${road.port}/worker`,
    messageMs: 1_000,
    script: async (_, tell, lease) => {
      started(tell);
      await lightning.until(() => lightning.of(lease.job.id, 'run:log').length === 2);
      road.freeze();
      tell({ event: 'step-start', at: at(), step: 'a' });
      for (let each = 0; each < 3; each += 1) tell(line(`line ${each}`));
      tell({ ...ends, at: at(), step: 'a' });
      tell({ event: 'end', at: at(), state: { data: 1 } });
      return undefined;
    },
  });
  const id = lightning.enqueue({ jobs: [job('a')] });
  t.match(await lightning.completed(id), { reason: 'success' });
  t.same(
    lightning
      .of(id)
      .map(({ event, payload }) => (event === 'run:log' ? String((payload['message'] as string[])[0]).slice(0, 12) : event))
      .slice(-7),
    ['step:start', 'line 0', 'line 1', 'line 2', 'step:complete', 'Run complete', 'run:complete'],
  );
  t.match(h.warnings, [{ code: 'openfn-unreachable', detail: 'no response and no heartbeat' }]);
});

for (const after of [false, true])
  t.test(`the connection is cut at a claim, ${after ? 'after' : 'before'} the server has taken it: the place is not lost`, async (t) => {
    const h = await start(t, { concurrency: 1, lightning: { meddle: once('claim', { kind: 'cut', after }) } });
    const id = h.lightning.enqueue({ jobs: [job('a')] });
    t.match(await h.lightning.completed(id), { reason: 'success' });
  });

t.test('a claim that is refused or not answered does not end the claiming', async (t) => {
  const answers: (Answer | undefined)[] = [
    { kind: 'error', response: { errors: {} } },
    { kind: 'silence' },
    { kind: 'raw', frames: ['[1,2]', '{'] },
  ];
  const h = await start(t, {
    concurrency: 1,
    claimMs: 100,
    lightning: { meddle: ({ event }) => (event === 'claim' ? answers.shift() : undefined) },
  });
  t.match(await h.lightning.completed(h.lightning.enqueue({ jobs: [job('a')] })), { reason: 'success' });
  t.ok(h.lightning.seen('claim').length >= 4);
});

t.test('what a run cannot be begun without', async (t) => {
  const cases: readonly [string, string, Answer, object | undefined][] = [
    ['join', 'phx_join', { kind: 'error', response: { reason: 'unauthorized' } }, undefined],
    ['join', 'phx_join', { kind: 'silence' }, undefined],
    [
      'plan',
      'fetch:plan',
      { kind: 'error', response: { errors: { adaptor: ['unknown'] } } },
      { error_type: 'PlanError', error_message: /\[fetch:plan\] .*unknown/ },
    ],
    ['plan', 'fetch:plan', { kind: 'silence' }, { error_type: 'PlanError', error_message: 'Failed to load plan: [fetch:plan] timeout' }],
    [
      'dataclip',
      'fetch:dataclip',
      { kind: 'error', response: 'gone' },
      { error_type: 'DataClipError', error_message: 'Failed to load dataclip d1: [fetch:dataclip] gone' },
    ],
  ];
  for (const [what, event, answer, ending] of cases)
    await t.test(`${what}: ${answer.kind}`, async (t) => {
      let meddled = false;
      const h = await start(t, {
        concurrency: 1,
        messageMs: 300,
        lightning: {
          meddle: (request) => {
            if (meddled || request.event !== event || request.topic === 'worker:queue') return undefined;
            meddled = true;
            return answer;
          },
        },
      });
      const { lightning } = h;
      lightning.dataclips.set('d1', {});
      const bad = lightning.enqueue({ dataclip_id: 'd1', jobs: [job('a')] });
      await lightning.until(() => meddled);
      const good = lightning.enqueue({ jobs: [job('a')] });
      t.match(await lightning.completed(good), { reason: 'success' }, 'the place is free for the next');
      if (ending !== undefined) t.match(await lightning.completed(bad), { reason: 'exception', ...ending });
      t.same(lightning.of(bad, 'run:start'), []);
    });
});

t.test('a credential that cannot be had: the error says what the server said', async (t) => {
  const messages: string[] = [];
  const h = await start(t, {
    messageMs: 200,
    lightning: {
      meddle: ({ event, payload }) => (event === 'fetch:credential' && payload['id'] === 'slow' ? { kind: 'silence' } : undefined),
    },
    script: async (run, tell, lease) => {
      for (const id of ['none', 'slow'])
        await lease.exchange?.ask({ ask: 'credential', id }).catch((error: Error) => messages.push(error.message));
      return oneStep()(run, tell, lease);
    },
  });
  await h.lightning.completed(h.lightning.enqueue({ jobs: [job('a')] }));
  t.same(messages, ['[fetch:credential] {"errors":{"id":["not found"]}}', '[fetch:credential] timeout']);
});

t.test('an event that is refused or not answered is given up, and the next ones go out', async (t) => {
  const h = await start(t, {
    messageMs: 200,
    lightning: {
      meddle: ({ event, nth }) => {
        if (event === 'run:start') return { kind: 'silence' };
        return event === 'step:complete' || (event === 'run:log' && nth === 1) ? { kind: 'error', response: 'no' } : undefined;
      },
    },
  });
  const id = h.lightning.enqueue({ jobs: [job('a')] });
  t.match(await h.lightning.completed(id), { reason: 'success' });
  t.equal(h.lightning.of(id, 'run:start').length, 1, 'once: it may have been taken');
  t.ok(h.lines.some((text) => /not taken/.test(text)));
});

t.test('a run:complete that is refused frees the place', async (t) => {
  const h = await start(t, { concurrency: 1, lightning: { meddle: once('run:complete', { kind: 'error', response: 'no' }) } });
  const [first, second] = [h.lightning.enqueue({ jobs: [job('a')] }), h.lightning.enqueue({ jobs: [job('a')] })];
  t.match(await h.lightning.completed(second), { reason: 'success' });
  t.equal(h.lightning.of(first, 'run:complete').length, 1);
});

t.test('a run that the server does not know any more is stopped', async (t) => {
  const lost = gate();
  const h = await start(t, {
    script: async (_, tell, lease) => {
      started(tell);
      lease.signal.addEventListener('abort', lost.open);
      await lost.passed;
      return { state: 'released', reason: 'lost' };
    },
  });
  const { lightning } = h;
  const id = lightning.enqueue({ jobs: [job('a')] });
  await lightning.until(() => lightning.of(id, 'run:start').length > 0);
  lightning.plans.delete(id);
  lightning.cut();
  await lost.passed;
  t.match((await lightning.completed(lightning.enqueue({ jobs: [job('b')], id: 'next' })).catch(() => undefined)) ?? {}, {});
  t.same(lightning.of(id, 'run:complete'), []);
});

t.test('a channel that breaks down on the server is joined again', async (t) => {
  const { passed, open } = gate();
  const h = await start(t, {
    script: async (run, tell, lease) => {
      await passed;
      return oneStep()(run, tell, lease);
    },
  });
  const { lightning } = h;
  const id = lightning.enqueue({ jobs: [job('a')] });
  await lightning.until(() => lightning.of(id, 'fetch:plan').length > 0);
  lightning.push(`run:${id}`, 'phx_error');
  lightning.push('worker:queue', 'phx_error');
  await lightning.until(() => lightning.of(id, 'phx_join').length > 1);
  open();
  t.match(await lightning.completed(id), { reason: 'success' });
});

t.test('an older server that refuses the queue: it is said, and tried again', async (t) => {
  const h = await start(t, {
    lightning: {
      meddle: ({ topic, event, nth }) =>
        event === 'phx_join' && topic === 'worker:queue' && nth < 2 ? { kind: 'error', response: { reason: 'unauthorized' } } : undefined,
    },
  });
  t.match(await h.lightning.completed(h.lightning.enqueue({ jobs: [job('a')] })).then(() => h.warnings), [
    { code: 'openfn-refused', detail: 'unauthorized' },
  ]);
});

t.test('a server that gives more runs than it was asked for: none is lost, and no claim answers with more than it may', async (t) => {
  let most = 0;
  let running = 0;
  const h = await start(t, {
    concurrency: 1,
    lightning: { meddle: ({ event, payload }) => void (event === 'claim' && Object.assign(payload, { demand: 5 })) as undefined },
    script: async (run, tell, lease) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return oneStep()(run, tell, lease);
    },
  });
  const ids = Array.from({ length: 4 }, () => h.lightning.enqueue({ jobs: [job('a')] }));
  for (const id of ids) t.match(await h.lightning.completed(id), { reason: 'success' });
  t.equal(most, 1);
});

t.test('a server that refuses the secret: it is said, and tried again ever more slowly', async (t) => {
  const h = await start(t, { lightning: { accepts: () => false } });
  await h.lightning.until(() => h.lightning.urls.length >= 3);
  t.match(h.warnings, [{ code: 'openfn-refused' }]);
});

t.test('silence: a connection on which nothing is heard from one beat to the next is made anew; one with traffic is not', async (t) => {
  const lightning = await startLightning(t, { style: 'mock' });
  const downs: string[] = [];
  const socket = new LightningSocket({
    url: `${lightning.url}/websocket?token=x`,
    clock: systemClock,
    log: silentLog,
    heartbeatMs: 150,
    onDown: (why) => downs.push(why),
  });
  t.teardown(() => socket.close());
  const channel = new Channel(socket, {
    topic: 'worker:queue',
    params: { capacity: 1 },
    joinMs: 1_000,
    clock: systemClock,
    alwaysRejoins: true,
  });
  socket.start();
  await channel.joined();
  // Like the mock server, it replies to everything except heartbeats.
  const until = Date.now() + 500;
  while (Date.now() < until)
    await channel.request('claim', { demand: 1 }, 1_000).then(() => new Promise((resolve) => setTimeout(resolve, 20)));
  t.same(downs, []);
  await lightning.until(() => lightning.urls.length > 1);
  t.same(downs, ['heartbeat timeout']);
  t.ok(await channel.joined());
});

t.test(
  'of log lines that come faster than they can be sent the oldest are left out and counted; the last stay, and how it ended',
  async (t) => {
    const { passed, open } = gate();
    let held = true;
    const h = await start(t, {
      messageMs: 60_000,
      lightning: { meddle: ({ event }) => (event === 'run:start' && held ? { kind: 'silence' } : undefined) },
      script: async (_, tell) => {
        started(tell);
        for (let each = 0; each < 50; each += 1) tell(line(`${each} ${'x'.repeat(1024 * 1024)}`));
        open();
        await new Promise<void>((resolve) => setImmediate(resolve));
        held = false;
        h.lightning.cut();
        await new Promise<void>((resolve) => setTimeout(resolve, 50));
        return undefined;
      },
    });
    const id = h.lightning.enqueue({ jobs: [job('a')] });
    await passed;
    await h.lightning.completed(id);
    const lengths = h.lightning.of(id, 'run:log').map(({ payload }) => String((payload['message'] as string[])[0]));
    const sent = lengths.filter((text) => text.length > 1_000).map((text) => Number.parseInt(text, 10));
    t.ok(sent.length <= 32 && sent.length > 20, `${sent.length} of 50 are told`);
    t.same(
      sent,
      Array.from(sent, (_, place) => 50 - sent.length + place),
      'the last ones',
    );
    const gap = lengths.findIndex((text) => /left out/.test(text));
    // The run's own first lines were dropped as well.
    t.match(lengths[gap], new RegExp(`^${50 - sent.length + 2} log lines were left out`));
    t.match(lengths[gap + 1], /^\d+ x/, 'in their place');
    t.match(lengths.slice(-2), [/^Run complete/, /^WorkerStopped/]);
  },
);

t.test('a hostile server: 3,000 seeded answers of all kinds, and then a good one', async (t) => {
  const random = seededRandom(20_261_125);
  const { pick } = random;
  const values: readonly [unknown, ...unknown[]] = [
    null,
    '',
    'x',
    0,
    -1,
    1e300,
    true,
    [],
    {},
    { runs: null },
    { runs: [null] },
    { runs: [{ id: 1 }] },
    { id: {} },
    { jobs: 'no' },
    [[]],
  ];
  const bytes = (length: number) => Buffer.from(random.bytes(length));
  let left = 3_000;
  const meddle = ({ topic, event, ref, joinRef }: SeenRequest): Answer | undefined => {
    if (left <= 0 || (topic === 'worker:queue' && event === 'phx_join')) return undefined;
    left -= 1;
    const reply = (response: unknown, status: unknown = 'ok', name = 'phx_reply') =>
      JSON.stringify([joinRef, ref, topic, name, { status, response }]);
    // Every request gets some reply, so that nothing has to time out.
    return {
      kind: 'raw',
      frames: [
        pick<() => string | Buffer>([
          () => bytes(random.below(60)),
          () => bytes(30).toString('latin1'),
          () => JSON.stringify(pick(values)),
          () => JSON.stringify([pick(values), pick(values), pick(values), pick(values), pick(values)]),
          () => JSON.stringify([joinRef, ref, topic, 'phx_reply', pick(values)]),
          () => reply(pick(values), pick(values)),
          () => reply({ runs: [{ id: `evil-${left}`, token: 'x.y.z' }] }, 'ok', `chan_reply_${'9'.repeat(30)}`),
        ])(),
        event === 'claim' && random.below(2) === 0
          ? reply({ runs: [{ id: `evil-${left}`, token: pick(['', 'x.y.z', '..', '{}']) }] })
          : reply(pick(values), pick(['ok', 'error'])),
      ],
    };
  };
  const h = await start(t, { backoffMs: [1, 2], messageMs: 1_000, claimMs: 1_000, lightning: { meddle } });
  const { lightning } = h;
  const hurry = setInterval(() => lightning.workAvailable(), 5);
  t.teardown(() => clearInterval(hurry));
  await lightning.until(() => left <= 0);
  t.match(await lightning.completed(lightning.enqueue({ jobs: [job('a')] })), { reason: 'success' });
  t.same(
    h.warnings.filter(({ code }: PeerworkError) => code === 'internal'),
    [],
  );
});
