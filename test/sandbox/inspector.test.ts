import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { until } from '../lab/until.js';

const source = (path: string) => new URL(`../../src/${path}`, import.meta.url).href;
const frontDoor = fileURLToPath(new URL('../../../bin/peerwork.js', import.meta.url));

/** Starts a program and collects its output. */
function start(t: Test, args: readonly string[]): { child: ChildProcess; output: () => string; prints: (text: string) => Promise<void> } {
  const child = spawn(process.execPath, ['--inspect-port=0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  t.teardown(() => child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk));
  const prints = async (text: string) => {
    await until(() => output.includes(text) || child.exitCode !== null || child.signalCode !== null);
    if (!output.includes(text)) t.fail(`it ended without saying ${text}: ${output}`);
  };
  return { child, output: () => output, prints };
}

/** Waits one turn of the event loop after the signal, in which Node would have opened and announced the inspector. */
const program = (body: string) => [
  '--input-type=module',
  '-e',
  `import { keepInspectorShut } from ${JSON.stringify(source('sandbox/inspector.js'))};
   import { Worker } from ${JSON.stringify(source('index.js'))};
   import inspector from 'node:inspector';
   const signalled = () => new Promise((resolve) => { process.kill(process.pid, 'SIGUSR1'); setTimeout(resolve, 500); });
   ${body}
   console.log(inspector.url() === undefined ? 'shut' : 'open');
   process.exit();`,
];

t.test('what the tests below rest on: by itself, Node opens its inspector upon SIGUSR1', async (t) => {
  const { prints } = start(t, program('await signalled();'));
  await prints('open');
});

t.test('a process that keeps its inspector shut does so, beside the listener of a host program, whatever that one does', async (t) => {
  const { prints, output } = start(
    t,
    program(`
      let heard = 0;
      const own = () => { heard += 1; };
      process.on('SIGUSR1', own);
      keepInspectorShut();
      keepInspectorShut();
      console.log('listeners', process.listenerCount('SIGUSR1'));
      await signalled();
      console.log('heard', heard);
      process.off('SIGUSR1', own);
      await signalled();`),
  );
  await prints('shut');
  t.match(output(), /listeners 2\nheard 1\n/);
});

t.test('a Worker in a host program keeps it shut', async (t) => {
  const { prints } = start(
    t,
    program(`
      const never = { name: 'never', start: async () => {}, claim: () => new Promise(() => {}), close: async () => {} };
      try { new Worker({ sources: [never], home: '/nowhere/at/all' }).on('error', () => {}); } catch {}
      await signalled();`),
  );
  await prints('shut');
});

t.test('the command line keeps it shut', async (t) => {
  const { child, output, prints } = start(t, [frontDoor, 'tracker', '--host', '127.0.0.1', '--port', '0']);
  await prints('ws://');
  child.kill('SIGUSR1');
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
  t.notMatch(output(), /Debugger listening/);
});
