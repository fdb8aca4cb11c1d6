import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import '../../src/cli/wires.js';
import { knownError } from '../../src/errors.js';
import { freePort } from '../lab/free-port.js';
import { Grid, type Program } from '../lab/grid.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { LabRedis, redisTools } from '../lab/redis.js';
import { makeCertificate } from '../lab/redis-failover.js';
import { requireThat, requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const SECRET = 'a-secret-of-the-user';

/**
 * Something that makes an engine unusable, and its remedy: `remedy` applies it and returns the address to use then; `words` must
 * appear in the message.
 */
interface Refusal {
  readonly what: string;
  readonly code: string;
  readonly address: () => string | Promise<string>;
  readonly words: RegExp;
  readonly remedy: () => string | Promise<string>;
}

function newGrid(t: Test): Grid {
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.js'), 'module.exports = async (data) => data;\n');
  return grid;
}

/** A server that accepts connections and stays silent. */
async function silentServer(t: Test): Promise<number> {
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket.on('error', () => {}));
    socket.resume();
  }).listen(0, '127.0.0.1');
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  await new Promise((resolve) => server.once('listening', resolve));
  return (server.address() as { readonly port: number }).port;
}

function checkMessage(t: Test, line: string, { code, words }: Refusal): void {
  t.match(line, words, 'the cause');
  t.notMatch(line, SECRET, 'and no password');
  t.ok(line.includes(knownError(code)?.hint.slice(0, 20) ?? 'no such code'), 'and what to do');
}

t.test('a Postgres that refuses a ledger: each cause has its code, and what is said to do about it works', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'apt-get install postgresql')) return;
  if (!requireTools(t, { openssl: 'openssl' })) return;
  const tls = makeCertificate(t);
  const lab = await LabPostgres.start({ tls });
  t.teardown(() => lab.close());
  await lab.query(`CREATE ROLE me LOGIN PASSWORD '${SECRET}'`);
  await lab.letIn(
    'hostssl encrypted me 127.0.0.1/32 scram-sha-256',
    'host encrypted all 127.0.0.1/32 reject',
    'host all all 127.0.0.1/32 scram-sha-256',
  );
  const create = (name: string, more = 'OWNER me') => lab.query(`CREATE DATABASE ${name} ${more} ENCODING 'UTF8' TEMPLATE template0`);
  const made = async (name: string, more?: string) => {
    await create(name, more);
    return address(name);
  };
  const address = (name: string, { login = `me:${SECRET}`, host = '127.0.0.1', port = lab.port, query = '' } = {}) =>
    `postgres://${login}@${host}:${port}/${name}${query}`;
  const sealed = (name: string) => address(name, { query: `?sslmode=verify-full&sslrootcert=${tls.ca}` });
  await create('whole');
  // Masters on one ledger share a key.
  const keyFile = join(t.testdir(), 'key.json');
  const stopped = await freePort();
  const silent = await silentServer(t);
  const refusals: readonly Refusal[] = [
    {
      what: 'nothing listens',
      code: 'ledger-unreachable',
      address: () => address('whole', { port: stopped }),
      words: /ECONNREFUSED/,
      remedy: () => address('whole'),
    },
    {
      what: 'nothing answers',
      code: 'ledger-unreachable',
      address: () => address('whole', { port: silent }),
      words: /did not respond in time/,
      remedy: () => address('whole'),
    },
    {
      what: 'a host without an address',
      code: 'host-unknown',
      address: () => address('whole', { host: 'nowhere.invalid' }),
      words: /nowhere\.invalid/,
      remedy: () => address('whole', { host: 'localhost' }),
    },
    {
      what: 'a wrong password',
      code: 'ledger-login',
      address: () => address('whole', { login: 'me:wrong' }),
      words: /password authentication failed/,
      remedy: () => address('whole'),
    },
    {
      what: 'no password',
      code: 'ledger-login',
      address: () => address('whole', { login: 'me' }),
      words: /it wants a password, and the address has none/,
      remedy: () => address('whole'),
    },
    {
      what: 'a password with characters that are not written so',
      code: 'ledger-login',
      address: async () => {
        await lab.query(`CREATE ROLE odd LOGIN PASSWORD '50%41@home'`);
        await lab.query('GRANT ALL ON DATABASE whole TO odd; GRANT me TO odd');
        return address('whole', { login: 'odd:50%41%40home' });
      },
      words: /password authentication failed/,
      remedy: () => address('whole', { login: 'odd:50%2541%40home' }),
    },
    {
      what: 'a server that lets in over TLS alone',
      code: 'ledger-login',
      address: () => made('encrypted'),
      words: /no encryption/,
      remedy: () => sealed('encrypted'),
    },
    {
      what: 'a certificate that nobody vouches for',
      code: 'ledger-tls',
      address: () => address('whole', { query: '?sslmode=verify-full' }),
      words: /self-signed certificate/,
      remedy: () => sealed('whole'),
    },
    {
      what: 'a host that the certificate does not name',
      code: 'ledger-tls',
      address: () => address('whole', { host: '127.0.0.2', query: `?sslmode=verify-full&sslrootcert=${tls.ca}` }),
      words: /127\.0\.0\.2/,
      remedy: () => sealed('whole'),
    },
    {
      what: 'a file of a certificate that is not there',
      code: 'file-missing',
      address: () => address('whole', { query: '?sslmode=verify-full&sslrootcert=/nowhere/ca.pem' }),
      words: /\/nowhere\/ca\.pem/,
      remedy: () => sealed('whole'),
    },
    {
      what: 'no such database',
      code: 'ledger-database-missing',
      address: () => address('missing'),
      words: /"missing" does not exist/,
      remedy: () => made('missing'),
    },
    {
      what: 'a user without rights',
      code: 'ledger-rights',
      address: () => made('strangers', 'OWNER peerwork'),
      words: /permission denied for schema public/,
      remedy: async () => {
        await lab.query('GRANT ALL ON SCHEMA public TO me', 'strangers');
        return address('strangers');
      },
    },
    {
      what: 'no schema',
      code: 'ledger-schema-missing',
      address: async () => {
        await create('bare');
        await lab.query('ALTER ROLE me IN DATABASE bare SET search_path = mine');
        return address('bare');
      },
      words: /\/bare/,
      remedy: async () => {
        await lab.query('CREATE SCHEMA mine AUTHORIZATION me', 'bare');
        return address('bare');
      },
    },
    {
      what: 'no connection left',
      code: 'ledger-connections',
      address: async () => {
        await lab.query(`CREATE ROLE narrow LOGIN PASSWORD '${SECRET}' CONNECTION LIMIT 1`);
        await lab.query('GRANT me TO narrow');
        return address('whole', { login: `narrow:${SECRET}` });
      },
      words: /too many connections/,
      remedy: async () => {
        await lab.query('ALTER ROLE narrow CONNECTION LIMIT -1');
        return address('whole', { login: `narrow:${SECRET}` });
      },
    },
    {
      what: 'a database that is only read',
      code: 'ledger-read-only',
      address: async () => {
        await create('frozen');
        await lab.query('ALTER DATABASE frozen SET default_transaction_read_only = on');
        return address('frozen');
      },
      words: /is read-only/,
      remedy: async () => {
        await lab.query('ALTER DATABASE frozen RESET default_transaction_read_only');
        return address('frozen');
      },
    },
    {
      what: 'a database that does not hold every text',
      code: 'ledger-encoding',
      address: async () => {
        await lab.query("CREATE DATABASE narrow_text OWNER me ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'");
        return address('narrow_text');
      },
      words: /LATIN1/,
      remedy: () => made('wide_text'),
    },
  ];
  for (const refusal of refusals)
    await t.test(refusal.what, async (t) => {
      const grid = newGrid(t);
      await grid.tracker();
      const start = (ledger: string): Program =>
        grid.start(['master', '--tracker', grid.trackerUrl, '--task', 'task', '--http', 'off', '--key-file', keyFile], {
          env: { PEERWORK_LEDGER: ledger },
        });
      const refused = start(await refusal.address());
      const line = await refused.line(/^peerwork: /);
      t.equal((await refused.ended).code, 2);
      t.match(line, `[${refusal.code}]`);
      checkMessage(t, line, refusal);
      const served = start(await refusal.remedy());
      t.match(await served.line(/^(Token|peerwork): /), /^Token: /, 'it starts');
      await served.stop();
    });
});

t.test('a Redis that refuses a source: each cause has its code, and what is said to do about it works', async (t) => {
  if (!requireTools(t, { ...redisTools, openssl: 'openssl' })) return;
  const tls = makeCertificate(t);
  const plain = await LabRedis.start({ password: SECRET });
  t.teardown(() => plain.close());
  const sealed = await LabRedis.start({ tls });
  t.teardown(() => sealed.close());
  const stopped = await freePort();
  const refusals: readonly (Refusal & { readonly lab?: LabRedis; readonly authority?: string })[] = [
    {
      what: 'nothing listens',
      code: 'worqr-unreachable',
      address: () => `redis://127.0.0.1:${stopped}`,
      words: /ECONNREFUSED/,
      remedy: () => plain.url,
    },
    {
      what: 'a host without an address',
      code: 'host-unknown',
      address: () => 'redis://nowhere.invalid',
      words: /nowhere\.invalid/,
      remedy: () => plain.url,
    },
    {
      what: 'no password',
      code: 'redis-denied',
      address: () => `redis://127.0.0.1:${plain.port}`,
      words: /NOAUTH/,
      remedy: () => plain.url,
    },
    {
      what: 'no such database',
      code: 'redis-database',
      address: () => `${plain.url}/99`,
      words: /out of range/,
      remedy: () => `${plain.url}/0`,
    },
    {
      what: 'a certificate that nobody vouches for',
      code: 'redis-tls',
      address: () => sealed.url,
      words: /self-signed certificate/,
      remedy: () => sealed.url,
      lab: sealed,
      authority: tls.ca,
    },
    {
      what: 'sentinels that are away are told of once, however often they are asked',
      code: 'worqr-unreachable',
      address: () => `redis+sentinel://127.0.0.1:${stopped}/main`,
      words: /All sentinels are unreachable/,
      remedy: () => plain.url,
    },
  ];
  for (const { lab = plain, authority, ...refusal } of refusals)
    await t.test(refusal.what, async (t) => {
      const grid = newGrid(t);
      const start = (url: string, more = {}): Program =>
        grid.start(['worker', '--concurrency', '1', '--sandbox', 'off'], {
          env: { PEERWORK_WORQR_URL: url, PEERWORK_WORQR_TASKS: 'q=task', ...more },
        });
      const address = await refusal.address();
      const health = await grid.start(['health'], { env: { PEERWORK_WORQR_URL: address, PEERWORK_WORQR_TASKS: 'q=task' } });
      const refused = start(address);
      const line = await refused.line(/ warn .*worqr|ended/);
      t.match(line, `code=${refusal.code} `);
      checkMessage(t, line, refusal);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      t.equal(refused.lines.filter((each) => / warn .*code=/.test(each)).length, 1, 'it is said once');
      await refused.stop();
      t.equal((await health.ended).code, 1);
      t.match(health.text, /^fail +worqr/m, 'and peerwork health says so as well');
      const worker = start(await refusal.remedy(), authority === undefined ? {} : { NODE_EXTRA_CA_CERTS: authority });
      await worker.line(/worker starts .*sources=worqr/);
      const client = lab.connect();
      t.teardown(() => client.disconnect());
      await client.lpush('worqr:queues:q', 'a task');
      await until(async () => (await client.llen('worqr:queues:q')) === 0 && (await client.keys('worqr:processes:*')).length === 0);
      t.pass('its tasks are done');
      await worker.stop();
    });
});
