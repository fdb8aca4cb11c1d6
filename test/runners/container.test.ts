import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Json, Outcome } from '../../src/job/job.js';
import { insideDockerLab } from '../lab/docker.js';
import { until } from '../lab/until.js';
import { ContainerStage, summary } from './container-stage.js';

const lab = await insideDockerLab(t, import.meta.url);

if (lab !== undefined) {
  const image = await lab.tinyImage();
  const shell = (script: string, more: { readonly [key: string]: Json } = {}) => ({ image, command: ['sh', '-c', script], ...more });
  const message = (outcome: Outcome) => (outcome.state === 'failed' ? outcome.error.message : outcome.state);

  t.test('a job finds its files and its input, and gives back its result and the files that were asked for', async (t) => {
    const stage = await ContainerStage.set(t);
    const script = `
      echo "reading $PEERWORK_INPUT"; echo aside >&2
      cat /peerwork/task/words/a.txt > /peerwork/out/copy.txt
      mkdir -p /peerwork/out/deep/er; echo 12345 > /peerwork/out/deep/er/b.txt; echo no > /peerwork/out/not.asked
      cat $PEERWORK_INPUT > /peerwork/out/result.json
      echo "$1 $A $B $PEERWORK_ATTEMPT"`;
    const task = { image, command: ['sh', '-c', script, 'sh'], env: { A: 'from the task', B: 1 }, files: [{ pattern: '**/*.txt' }] };
    const data = { args: ['an argument'], env: { A: 'from the job' }, input: { n: [1, 2] } };
    const outcome = await stage.run(task, { data, attempt: 2, assets: { 'words/a.txt': 'hello' } });
    t.same(summary(outcome), {
      exitCode: 0,
      result: { n: [1, 2] },
      stdout: 'reading /peerwork/input.json\nan argument from the job 1 2\n',
      files: [
        { path: 'copy.txt', bytes: 5, base64: Buffer.from('hello').toString('base64') },
        { path: 'deep/er/b.txt', bytes: 6, base64: Buffer.from('12345\n').toString('base64') },
      ],
    });
    t.same(
      stage.reports.map((report) => (report.kind === 'log' ? [report.stream, report.line] : [])).sort(),
      [
        ['stdout', 'reading /peerwork/input.json'],
        ['stderr', 'aside'],
        ['stdout', 'an argument from the job 1 2'],
      ].sort(),
      'its output is streamed',
    );
  });

  t.test('a job is told what its parents gave', async (t) => {
    const stage = await ContainerStage.set(t);
    const parents = [{ id: 'p', channel: 'default', data: 1, output: { sum: 3 } }];
    const outcome = await stage.run(shell('cat $PEERWORK_PARENTS > /peerwork/out/result.json'), { parents });
    t.same((summary(outcome) as { result: Json }).result, parents);
  });

  t.test('files of the job lie in a folder of their own, read-only, and a variable says where', async (t) => {
    const stage = await ContainerStage.set(t);
    const content = join(stage.folder, 'content');
    writeFileSync(content, 'of the job', { mode: 0o444 });
    const script = 'cat $PEERWORK_FILES/in/a.txt; (echo x > $PEERWORK_FILES/in/a.txt) 2>/dev/null || echo; echo refused';
    const outcome = await stage.run(shell(script), { context: { files: { own: { 'in/a.txt': content }, parents: [] } } });
    t.match(summary(outcome), { stdout: 'of the job\nrefused\n' });
    t.equal(readFileSync(content, 'utf8'), 'of the job');
    t.match(summary(await stage.run(shell('echo $(printenv PEERWORK_FILES || echo none)'))), { stdout: 'none\n' });
  });

  t.test('only the files that are named are mounted, where it is said', async (t) => {
    const stage = await ContainerStage.set(t);
    const assets = { 'a.txt': 'A', 'b/c.txt': 'C', 'd.txt': 'D' };
    const input = ['a.txt', { path: 'b', at: '/somewhere/else' }];
    const outcome = await stage.run(shell('cd /peerwork/task; ls; cat a.txt /somewhere/else/c.txt', { input }), { assets });
    t.match(summary(outcome), { stdout: 'a.txt\nAC' });
    const missing = await stage.run(shell('true', { input: ['none.txt'] }), { assets });
    t.match(missing, { state: 'failed', error: { code: 'container-invalid', message: /none\.txt/ }, retry: false });
  });

  t.test('every way to end is told from the others', async (t) => {
    const stage = await ContainerStage.set(t);
    const end = async (script: string, more = {}, wish = {}) => summary(await stage.run(shell(script, more), wish));
    t.same(await end('exit 0'), { exitCode: 0, stdout: '' });
    t.same(await end('exit 7'), { code: 'container-failed', exitCode: 7 });
    // Docker detects that only when it is not busy.
    if (lab.engine === 'podman')
      t.same(await end('sleep 0.5; (tail /dev/zero); exit 5', { limits: { memoryMb: 32 } }), { code: 'memory', exitCode: 5 });
    // With a delay: docker monitors the memory of a container only some moments after its start.
    t.same(await end('sleep 0.5; tail /dev/zero', { limits: { memoryMb: 32 } }), { code: 'memory', exitCode: 137 });
    t.same(await end('kill -9 $$'), { code: 'container-failed', exitCode: 137 }, 'killed, but not for its memory');
    const v8 = `echo 'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory' >&2; echo ' 1: 0xb82c28 node::Abort() [node]' >&2`;
    const full = await stage.run(shell(`${v8}; exit 134`, { limits: { memoryMb: 48 } }));
    t.match(full, { error: { code: 'memory', message: /48 MiB/, exitCode: 134 } }, 'as Node ends when its heap is full');
    t.match(
      message(await stage.run(shell(`echo 'abort: why' >&2; echo ' 1: 0xb82c28 node::Abort() [node]' >&2; exit 134`))),
      /abort: why$/,
    );
    t.same(await end('sleep 1000', {}, { timeoutMs: 500 }), { code: 'timeout', exitCode: null });
    t.same(await end('sleep 1000', { limits: { timeoutMs: 500 } }), { code: 'timeout', exitCode: null });
    t.match(message(await stage.run(shell('echo first >&2; echo the reason >&2; exit 3'))), /exit code 3: the reason/);
    t.same(summary(await stage.run({ image, command: ['no-such-program'] })), {
      code: 'container-failed',
      // As their init reports it.
      exitCode: lab.engine === 'podman' ? 1 : 127,
    });
  });

  t.test('a container that fails gives back what it printed, its files and its result all the same', async (t) => {
    const stage = await ContainerStage.set(t);
    const leave = 'echo printed; echo complained >&2; echo half > /peerwork/out/a.csv; printf \'{"rows":1}\' > /peerwork/out/result.json';
    const files = [{ pattern: '*.csv' }];
    const left = {
      stdout: 'printed\n',
      stderr: 'complained\n',
      result: { rows: 1 },
      files: [{ path: 'a.csv', bytes: 5, base64: Buffer.from('half\n').toString('base64') }],
    };
    t.same(output(await stage.run(shell(`${leave}; exit 7`, { files }))), { exitCode: 7, ...left });
    const late = await stage.run(shell(`${leave}; sleep 1000`, { files }), { timeoutMs: 2_000 });
    t.match(late, { state: 'failed', error: { code: 'timeout' }, output: left });
    t.ok(stage.lines.includes('printed') && stage.lines.includes('complained'));
    const torn = await stage.run(shell(`${leave}; printf '{"rows"' > /peerwork/out/result.json; exit 1`, { files }));
    t.same(output(torn), { exitCode: 1, stdout: left.stdout, stderr: left.stderr, files: left.files });
    t.ok(stage.lines.some((line) => /result is not given back: .*result\.json/.test(line)));
    t.match(await stage.run(shell('exit 0', { limits: { diskMb: 100_000 } })), { state: 'failed', output: undefined }, 'it never ran');
  });

  t.test('a cancelled job is asked to end, then killed', async (t) => {
    const stage = await ContainerStage.set(t);
    const started = () => until(() => stage.lines.includes('started'));
    for (const [script, says, stopGraceMs] of [
      ["trap 'echo asked; exit 0' TERM; echo started; while :; do sleep 0.1; done", true, 30_000],
      ["trap '' TERM; echo started; while :; do sleep 0.1; done", false, 1_000],
    ] as const) {
      stage.reports.length = 0;
      const cancel = new AbortController();
      const running = stage.run(shell(script, { limits: { stopGraceMs } }), { signal: cancel.signal });
      await started();
      cancel.abort();
      t.match(await running, { state: 'failed', error: { code: 'cancelled' }, retry: false });
      t.equal(stage.lines.includes('asked'), says);
    }
    const early = await stage.run(shell('true'), { signal: AbortSignal.abort() });
    t.match(early, { state: 'failed', error: { code: 'cancelled' } });
  });

  t.test('a container that somebody kills is a failure, and one whose worker closes is given back', async (t) => {
    const stage = await ContainerStage.set(t);
    const victim = stage.run(shell('echo started; sleep 1000'));
    await until(() => stage.lines.includes('started'));
    await lab.docker('kill', '-s', 'KILL', await lab.docker('ps', '-q', '--filter', 'label=peerwork.job=a-job'));
    t.same(summary(await victim), { code: 'container-failed', exitCode: 137 });
    stage.reports.length = 0;
    const open = stage.run(shell('echo started; sleep 1000'));
    await until(() => stage.lines.includes('started'));
    await stage.runner.close();
    t.equal((await open).state, 'released');
    t.equal(await lab.docker('ps', '-aq'), '', 'no container is left');
  });

  t.test('what a job may not ask for is refused before anything is started', async (t) => {
    const stage = await ContainerStage.set(t, { images: ['peerwork-test/*'] });
    const code = async (task: { readonly [key: string]: Json }, wish = {}) => {
      const outcome = await stage.run(task, wish);
      return outcome.state === 'failed' ? outcome.error.code : outcome.state;
    };
    t.equal(await code({ image: 'alpine' }), 'image-refused');
    t.equal(await code({ image: 'peerwork-test/none' }), 'image-missing');
    t.equal(await code({ image, limits: { memoryMb: 100_000 } }), 'container-limits');
    t.equal(await code({ image, limits: { diskMb: 100_000 } }), 'container-limits');
    for (const task of [
      {},
      { image: '--privileged' },
      { image: '-v/:/x' },
      { image, privileged: true },
      { image, mounts: [] },
      { image, user: 'root' },
    ])
      t.equal(await code(task), 'container-invalid', JSON.stringify(task));
    for (const input of [['../x'], ['/etc/passwd'], [{ path: '.', at: 'x' }], [{ path: '.', at: '/a,readonly=false' }]])
      t.equal(await code({ image, input }), 'container-invalid', JSON.stringify(input));
    t.equal(await code({ image, env: { 'A=B': 'x' } }), 'container-invalid');
    t.equal(await code({ image, env: { A: 'x\nB=y' } }), 'container-invalid');
    t.equal(await code({ image }, { data: { network: ['no port'] } }), 'container-invalid');
    t.equal(await code({ image }, { data: { image: 'alpine' } }), 'image-refused', 'the data of a job are held to the same');
    for (const data of [{ gpus: 'all' }, { n: 1, volumes: ['/:/x'] }, { input: { n: 1 }, comand: ['sh'] }, { input: null, n: 1 }])
      t.equal(await code({ image }, { data }), 'container-invalid', `nothing is passed over: ${JSON.stringify(data)}`);
  });

  t.test('an image that cannot be pulled is an error in seconds', async (t) => {
    const stage = await ContainerStage.set(t, { pull: 'missing' });
    t.equal(
      message(await stage.run({ image: '127.0.0.1:1/nothing:here' })).startsWith('The image is not present and cannot be pulled'),
      true,
    );
    t.match(stage.reports, [{ kind: 'progress', value: { pull: '127.0.0.1:1/nothing:here' } }]);
  });

  t.test('a job cannot get at the engine, the worker, or what others have', async (t) => {
    process.env['PEERWORK_TEST_TOKEN'] = 'pw1.do-not-show-this';
    const stage = await ContainerStage.set(t);
    const script = `
      env; cat /proc/1/environ /proc/self/environ; cat /proc/self/mountinfo
      ls /var/run /run /root /home /host 2>&1
      for f in /var/run/docker.sock ${lab.socket} /proc/1/root/etc/shadow ${stage.folder}; do ls $f 2>/dev/null && echo "found $f"; done
      echo x 2>/dev/null > /peerwork/task/task.json && echo wrote
      echo x 2>/dev/null > /peerwork/input.json && echo wrote
      echo x 2>/dev/null > /etc/passwd && echo wrote
      ls /proc/*/exe 2>/dev/null | wc -l`;
    const outcome = await stage.run(shell(script));
    const text = JSON.stringify(summary(outcome));
    t.equal(outcome.state, 'completed');
    t.notMatch(text, /do-not-show-this|found |wrote|docker\.sock"/);
    const [processes = ''] = /\d+(?=\\n"\})/.exec(text) ?? [];
    t.ok(Number(processes) < 10, `it sees its own processes alone: ${processes}`);
  });

  t.test('links in the output folder lead nowhere', async (t) => {
    const stage = await ContainerStage.set(t);
    const script = `
      cd /peerwork/out; ln -s /etc/passwd passwd.txt; ln -s / root; ln -s /etc etc.txt; ln -s /etc/hostname result.json
      mkdir real; ln -s ../../../../../../etc/passwd real/up.txt; echo fine > real/fine.txt; ln real/fine.txt hard.txt`;
    const outcome = await stage.run(shell(script, { files: [{ pattern: '**' }] }));
    t.match(summary(outcome), { files: [{ path: 'hard.txt' }, { path: 'real/fine.txt' }] });
    t.equal((summary(outcome) as { files: Json[] }).files.length, 2);
    t.equal((summary(outcome) as { result?: Json }).result, undefined);
  });

  t.test('what is too large to be sent is refused', async (t) => {
    const stage = await ContainerStage.set(t);
    const big = (more: { readonly [key: string]: Json }, script = 'dd if=/dev/zero of=/peerwork/out/a bs=1024 count=9000') =>
      stage.run(shell(script, more));
    t.match(await big({ files: [{ pattern: 'a', maxBytes: 1_000 }] }), {
      error: { code: 'output-too-large', message: /a has 9216000 bytes/ },
    });
    t.match(await big({ files: [{ pattern: '*' }] }), { error: { code: 'output-too-large' } });
    t.match(await big({}, 'echo nonsense > /peerwork/out/result.json'), { error: { code: 'output-unsendable' } });
    t.match(await big({}), { state: 'completed' }, 'nobody asked for it');
  });

  t.test('a job that fills the disk, forks without end or floods its log is held', async (t) => {
    const stage = await ContainerStage.set(t);
    const fill = 'i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/peerwork/out/$i bs=1024 count=4096 2>/dev/null; done';
    t.same(summary(await stage.run(shell(fill))), { code: 'scratch-too-large', exitCode: null });
    const one = 'dd if=/dev/zero of=/peerwork/out/a bs=1024 count=65536; echo "code $?"';
    const outcome = await stage.run(shell(one));
    t.match(JSON.stringify(summary(outcome)), /code 153|scratch-too-large|File size limit/, 'a single file never grows beyond the limit');
    for (const place of ['/tmp', '/dev/shm']) {
      const full = await stage.run(shell(`dd if=/dev/zero of=${place}/a bs=1024 count=200000; exit 5`, { limits: { tmpMb: 8 } }));
      t.same(summary(full), { code: 'container-failed', exitCode: 5 }, `${place} is bounded`);
      t.match(stage.lines.join(), /No space left on device/);
      stage.reports.length = 0;
    }
    const voluminous = await lab.tinyImage('peerwork-test/voluminous:1', ['VOLUME /data /tmp /peerwork/out/']);
    stage.reports.length = 0;
    const script = 'echo x > /data/a && dd if=/dev/zero of=/data/b bs=1024 count=200000; exit 5';
    const kept = await stage.run({ ...shell(script, { limits: { tmpMb: 8 } }), image: voluminous });
    t.same(summary(kept), { code: 'container-failed', exitCode: 5 });
    t.match(stage.lines.join(), /No space left on device/, 'volumes that the image wants are bounded too');
    t.equal(await lab.docker('volume', 'ls', '-q'), '');
    const bomb = 'i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; echo all of them';
    stage.reports.length = 0;
    const forked = await stage.run(shell(bomb, { limits: { pids: 64 } }));
    t.equal(forked.state, 'failed');
    t.match(stage.lines.join(), /fork/i);
    t.notMatch(stage.lines.join(), /all of them/);
    stage.reports.length = 0;
    const flood = await stage.run(
      shell('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done > /tmp/all; cat /tmp/all; echo last'),
    );
    t.match(summary(flood), { stdout: /line 20000\nlast\n$/ }, 'the end of stdout is whole');
    t.ok(stage.lines.length < 15_000, `${stage.lines.length} lines`);
    t.match(stage.lines.join(), /lines were dropped/);
  });

  t.test('nothing is left behind', async (t) => {
    t.equal(await lab.docker('ps', '-aq'), '');
  });
}

function output(outcome: Outcome): Json | undefined {
  return outcome.state === 'released' ? undefined : outcome.output;
}
