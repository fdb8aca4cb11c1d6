import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { redact } from '../../../../src/log.js';
import {
  hasCredentials,
  openAccess,
  readCredentials,
  removeCredentials,
  writeCredentials,
} from '../../../../src/wires/dory/source/credentials.js';

const apiBaseUrl = 'http://localhost:4500';
const mode = (path: string) => statSync(path).mode & 0o777;

t.test('only the owner may look at the credentials, whatever was there before', async (t) => {
  const folder = join(t.testdir(), '.dory');
  const file = join(folder, 'credentials');
  mkdirSync(folder, { mode: 0o755 });
  writeFileSync(file, 'of old', { mode: 0o644 });
  await writeCredentials(
    { apiBaseUrl: `${apiBaseUrl}/`, username: 'ada', label: 'attic', apiKey: 'dwk_secret-one', createdAt: 'now' },
    file,
  );
  t.equal(mode(file), 0o600);
  t.equal(mode(folder), 0o700);
  t.same(readdirSync(folder), ['credentials'], 'no draft is left');
  t.match(JSON.parse(readFileSync(file, 'utf8')), { username: 'ada', label: 'attic', apiKey: 'dwk_secret-one', createdAt: 'now' });
  t.match(readCredentials(file), { apiBaseUrl, username: 'ada' });
  t.equal(redact('the key is dwk_secret-one'), 'the key is [secret]');
  t.equal(await removeCredentials(file), true);
  t.equal(await removeCredentials(file), false);
  t.equal(hasCredentials(file), false);
  t.equal(readCredentials(file), undefined);
});

t.test('credentials that make no sense are refused, not guessed at', async (t) => {
  const file = join(t.testdir(), 'credentials');
  for (const content of ['', '{', '{}', '{"apiBaseUrl":"http://x"}', '{"apiBaseUrl":"x","apiKey":"dwk_1"}', '[]']) {
    writeFileSync(file, content);
    t.throws(() => readCredentials(file), { code: 'dory-credentials-unusable' }, content);
  }
});

t.test('a key that is given beats the stored one; the stored one is for its own API', async (t) => {
  const credentialsFile = join(t.testdir(), 'credentials');
  t.throws(() => openAccess({ credentialsFile }), { code: 'dory-key-missing' });
  t.throws(() => openAccess({ credentialsFile, apiBaseUrl }), { code: 'dory-key-missing' });
  t.throws(() => openAccess({ credentialsFile, apiKey: 'dwk_x' }), { code: 'dory-key-missing' }, 'a key without an API');
  await writeCredentials({ apiBaseUrl, apiKey: 'dwk_stored', label: 'attic' }, credentialsFile);
  const keyOf = (options: object) => {
    const access = openAccess({ credentialsFile, ...options });
    return [access.apiBaseUrl, access.key(), access.label];
  };
  t.same(keyOf({}), [apiBaseUrl, 'dwk_stored', 'attic']);
  t.same(keyOf({ apiBaseUrl: `${apiBaseUrl}//` }), [apiBaseUrl, 'dwk_stored', 'attic']);
  t.same(keyOf({ apiBaseUrl: 'http://other', apiKey: 'dwk_given' }), ['http://other', 'dwk_given', undefined]);
  t.same(keyOf({ apiKey: 'dwk_given' }), [apiBaseUrl, 'dwk_given', undefined]);
  t.throws(() => openAccess({ credentialsFile, apiBaseUrl: 'http://other' }), { code: 'dory-key-elsewhere' });
});

t.test('a new log-in is noticed', async (t) => {
  const credentialsFile = join(t.testdir(), 'credentials');
  await writeCredentials({ apiBaseUrl, apiKey: 'dwk_first' }, credentialsFile);
  const access = openAccess({ credentialsFile });
  t.equal(access.refresh(), false);
  await writeCredentials({ apiBaseUrl: 'http://other', apiKey: 'dwk_other' }, credentialsFile);
  t.equal(access.refresh(), false, 'of another API');
  writeFileSync(credentialsFile, '{');
  t.equal(access.refresh(), false, 'half a file');
  await writeCredentials({ apiBaseUrl, apiKey: 'dwk_second' }, credentialsFile);
  t.equal(access.refresh(), true);
  t.equal(access.key(), 'dwk_second');
});
