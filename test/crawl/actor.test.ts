import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import t from 'tap';
import { readActor } from '../../src/crawl/actor.js';

const schema = JSON.parse(readFileSync(new URL('../../../assets/crawler/actor.schema.json', import.meta.url), 'utf8'));
const validate = new Ajv({ strict: false, allErrors: true }).compile(schema);
const startUrls = ['https://example.org/'];

const good: readonly object[] = [
  { startUrls },
  { startUrls: [] },
  { startUrls: [{ url: 'http://10.0.0.1:8080/a?b#c' }], maxPages: 1, maxDepth: 0 },
  {
    startUrls,
    links: false,
    extract: { title: 'h1', price: { selector: '.p', attribute: 'content', all: true, required: true, html: false } },
  },
  {
    startUrls,
    links: { selector: 'a', globs: ['https://**'], exclude: [], within: 'domain' },
    handlers: [{ name: 'x', globs: ['**'], links: {} }],
  },
  { startUrls, respectRobotsTxt: false, delayMs: 1_000, maxConcurrency: 200, maxRetries: 0, pageTimeoutSecs: 600, maxPageBytes: 1_024 },
  { startUrls, userAgent: 'me/1.0', headers: { 'Accept-Language': 'de' }, runId: 'r' },
];

/** Each with the path of the fault. */
const bad: readonly (readonly [unknown, string])[] = [
  [null, 'the config'],
  [[], 'startUrls'],
  [{}, 'startUrls'],
  [{ startUrls: 'https://example.org/' }, 'startUrls'],
  [{ startUrls: ['file:///etc/passwd'] }, 'startUrls.0'],
  [{ startUrls: ['https://user:secret@example.org/'] }, 'startUrls.0'],
  [{ startUrls: [...startUrls, { url: 'ftp://x' }] }, 'startUrls.1.url'],
  [{ startUrls, maxPages: 0 }, 'maxPages'],
  [{ startUrls, maxPages: 1.5 }, 'maxPages'],
  [{ startUrls, maxConcurrency: 1_000 }, 'maxConcurrency'],
  [{ startUrls, links: { within: 'planet' } }, 'links.within'],
  [{ startUrls, links: { glob: ['**'] } }, 'links.glob'],
  [{ startUrls, extract: { title: { selector: 'h1', required: 'yes' } } }, 'extract.title.required'],
  [{ startUrls, handlers: [{}, { extract: { a: 1 } }] }, 'handlers.1.extract.a'],
  [{ startUrls, headers: { 'a b': 'c' } }, 'headers.a b'],
  [{ startUrls, headers: { a: 'x\r\nHost: y' } }, 'headers.a'],
  [{ startUrls, userAgent: 'a\nb' }, 'userAgent'],
  [{ startUrls, sudo: true }, 'sudo'],
];

t.test('the schema that is shipped and the check agree', async (t) => {
  for (const config of good) {
    t.ok('actor' in readActor(config), JSON.stringify(config));
    t.ok(validate(config), JSON.stringify([config, validate.errors]));
  }
  for (const [config] of bad) {
    t.ok('fault' in readActor(config), JSON.stringify(config));
    t.notOk(validate(config), JSON.stringify(config));
  }
});

t.test('a fault is told with its place', async (t) => {
  for (const [config, path] of bad) {
    const read = readActor(config);
    const fault = 'fault' in read ? read.fault : '';
    t.ok(fault.startsWith(`${path}: `), `${path}: ${fault}`);
  }
});

t.test('every field is described', async (t) => {
  const fields = schema.properties as Record<string, { readonly description?: string }>;
  for (const [name, field] of Object.entries(fields)) t.ok(field.description, name);
});
