import t from 'tap';
import { conceal, createLog, type LogLevel, logLevels, redact, silentLog } from '../src/log.js';

function recorded(level: LogLevel) {
  const lines: string[] = [];
  return { lines, log: createLog({ level, write: (line) => lines.push(line), now: () => 0 }) };
}

t.test('one line an event: time, level, message, fields', async (t) => {
  const { lines, log } = recorded('debug');
  log.info('connected', { master: 'grid', ms: 12, path: 'relay', note: 'two words', gone: undefined, list: [1] });
  log.with({ job: 'a' }).error('failed', { error: new Error('line one\nline two') });
  t.same(lines, [
    '1970-01-01T00:00:00.000Z info  connected master=grid ms=12 path=relay note="two words" list=[1]',
    '1970-01-01T00:00:00.000Z error failed job=a error="line one\\nline two"',
  ]);
});

t.test('a level lets through itself and what is graver', async (t) => {
  for (const level of logLevels) {
    const { lines, log } = recorded(level);
    for (const kind of ['error', 'warn', 'info', 'debug'] as const) log[kind](kind);
    t.equal(lines.length, logLevels.indexOf(level), level);
  }
  t.doesNotThrow(() => silentLog.error('nobody hears this'));
});

t.test('a secret never reaches the sink, whatever the level and wherever it stands', async (t) => {
  const secret = 'pw1.AbCdEf-0123456789_secret';
  conceal(secret);
  const { lines, log } = recorded('debug');
  log.debug(`message with ${secret} inside`);
  log.error('field', { token: secret, nested: { deep: [secret] }, error: new Error(`refused ${secret}`) });
  log.with({ bound: secret }).info('bound');
  log.info('key', { [secret]: 1 });
  t.equal(lines.length, 4);
  for (const line of lines) {
    t.notOk(line.includes(secret), line);
    t.ok(line.includes('[secret]'));
  }
  t.equal(redact(`${secret} ${secret}`), '[secret] [secret]');
});

t.test('a secret with characters that JSON escapes is hidden in quoted fields too', async (t) => {
  const secret = 'quote"and\\slash-secret';
  conceal(secret);
  const { lines, log } = recorded('info');
  log.info('field', { value: `a ${secret} b` });
  t.notOk(lines[0]?.includes('slash-secret'), lines[0] ?? '');
});

t.test('short texts are not taken for secrets: they would blot out words', async (t) => {
  conceal('a');
  t.equal(redact('a banana'), 'a banana');
});
