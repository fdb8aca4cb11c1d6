import { appendFileSync, readFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { LabCrawlers } from '../lab/crawler.js';
import { Site, type SiteOptions } from '../lab/site.js';
import { until } from '../lab/until.js';

async function lab(t: Test, options: Partial<SiteOptions> = {}) {
  const site = await Site.start({ pages: 50, ...options });
  const crawlers = new LabCrawlers();
  t.teardown(async () => {
    await crawlers.close();
    await site.close();
  });
  return { site, crawlers };
}

const html = (response: ServerResponse, text: string, status = 200) => {
  response.writeHead(status, { 'content-type': 'text/html' });
  response.end(text);
  return true;
};

t.test('all pages of a site, each once, with what was asked for', async (t) => {
  const { site, crawlers } = await lab(t);
  const extract = {
    heading: 'h1',
    links: { selector: 'a', attribute: 'href', all: true },
    bold: { selector: '.text', html: true },
    none: 'h6',
  };
  const { exitCode, output } = await crawlers.start({ startUrls: [site.url('/page/0')], extract }).ended;
  t.equal(exitCode, 0, output);
  t.same(site.asked, { pages: 50, times: 50 });
  const results = crawlers.results();
  t.equal(new Set(results.map(({ requestId }) => requestId)).size, 50);
  const page = results.find(({ url }) => url.endsWith('/page/7'));
  t.match(page, {
    statusCode: 200,
    title: 'Page 7',
    contentType: 'text/html',
    data: { heading: 'Heading 7', bold: /<b>a few/, none: null },
  });
  t.equal((page?.['data'] as { links: string[] } | undefined)?.links.length, 12);
  t.match(output, /@peerwork \{"handled":50,"failed":0,"total":50,"pending":0,"full":false\}/);
});

t.test('a crawl that was killed goes on where it was: no page that is done is asked for again', async (t) => {
  const { site, crawlers } = await lab(t, { pages: 60, delayMs: 5 });
  const env = { PEERWORK_RESULTS: join(crawlers.folder, 'kept') };
  const actor = { startUrls: [site.url('/page/0')], maxConcurrency: 2, maxPages: 55 };
  const first = crawlers.start(actor, { ...env, WORKER_ID: 'worker-1' });
  await until(() => site.asked.pages >= 20);
  first.kill('SIGKILL');
  await first.ended;
  const done = crawlers.results().length;
  t.ok(done >= 10 && done < 55, `${done} pages are done`);
  // As left by a writer that was killed in the middle of a line.
  for (const file of ['worker-1.ndjson', 'pages.queue']) appendFileSync(join(env.PEERWORK_RESULTS, file), '{"requestId":"torn","id":"to');
  const { exitCode, output } = await crawlers.start(actor, { ...env, WORKER_ID: 'worker-1' }).ended;
  t.equal(exitCode, 0, output);
  t.ok(site.asked.pages === 55 && site.asked.times <= 55 + 2, 'only what was on its way is asked for again');
  t.match(output, /"total":55,"pending":0,"full":true/);
  const again = await crawlers.start(actor, { ...env, WORKER_ID: 'worker-1' }).ended;
  t.match(again, { exitCode: 0, output: /0 pages read, 0 failed; 55 of the whole crawl are handled/ });
  const results = readFileSync(join(env.PEERWORK_RESULTS, 'worker-1.ndjson'), 'utf8').split('\n');
  t.ok(
    results.some((line) => line.endsWith('"id":"to')),
    'the torn line stands alone',
  );
});

t.test('a page that is done leaves nothing in memory, although its time limit is far away', async (t) => {
  const pages = 700;
  const { site, crawlers } = await lab(t, { pages });
  // Half of what the pages take together if each is kept until its time limit.
  const env = { NODE_OPTIONS: '--max-old-space-size=28 --max-semi-space-size=2' };
  const actor = { startUrls: [site.url('/page/0')], maxPages: pages, pageTimeoutSecs: 600, links: { selector: 'a[href]' } };
  const { exitCode, output } = await crawlers.start(actor, env).ended;
  t.equal(exitCode, 0, output.slice(-500));
  t.same(site.asked, { pages, times: pages });
});

t.test('the same page by several addresses is one', async (t) => {
  const { site, crawlers } = await lab(t, { pages: 1 });
  const url = site.url('/page/0');
  await crawlers.start({ startUrls: [url, url, `${url}#top`, `${url}?`, { url }], links: false }).ended;
  t.same(site.asked, { pages: 1, times: 1 });
});

t.test('never more pages than allowed, nor deeper, nor elsewhere', async (t) => {
  const { site, crawlers } = await lab(t, { pages: 500 });
  await crawlers.start({ startUrls: [site.url('/page/0')], maxPages: 7 }).ended;
  t.same(site.asked, { pages: 7, times: 7 }, 'maxPages');
  site.hits.clear();
  await crawlers.start({ startUrls: [site.url('/page/0')], maxDepth: 1 }).ended;
  t.equal(site.asked.pages, 13, 'maxDepth');
  site.hits.clear();
  const links = { globs: ['**/page/?', '**/page/1*'], exclude: ['**/page/3'] };
  await crawlers.start({ startUrls: [site.url('/page/0')], links, maxPages: 20 }).ended;
  const paths = [...site.hits.keys()].filter((path) => path.startsWith('/page/'));
  t.ok(paths.length > 9 && paths.every((path) => /^\/page\/(\d|1\d*)$/.test(path) && path !== '/page/3'), 'globs');
  site.hits.clear();
  const other = await Site.start({ pages: 1, answer: (_, response) => html(response, `<a href="${site.url('/page/1')}">away</a>`) });
  t.teardown(() => other.close());
  await crawlers.start({ startUrls: [other.url('/')] }).ended;
  t.equal(site.asked.pages, 0, 'stays on its host');
  await crawlers.start({ startUrls: [other.url('/')], links: { within: 'all' }, maxPages: 3 }).ended;
  t.equal(site.asked.pages, 2, 'unless it is told to leave it');
});

t.test('handlers by address', async (t) => {
  const { site, crawlers } = await lab(t);
  const handlers = [
    { name: 'single', globs: ['**/page/?'], extract: { heading: 'h1' } },
    { globs: ['**'], links: false },
  ];
  await crawlers.start({ startUrls: [site.url('/page/0')], handlers }).ended;
  const results = crawlers.results();
  t.match(
    results.find(({ url }) => url.endsWith('/page/5')),
    { handler: 'single', data: { heading: 'Heading 5' } },
  );
  t.match(
    results.find(({ url }) => url.endsWith('/page/12')),
    { handler: undefined, data: {} },
  );
});

t.test('a page that fails is tried again, and told of when it is given up', async (t) => {
  let requests = 0;
  const { crawlers, site } = await lab(t, {
    answer: ({ url }, response) => {
      if (url === '/flaky') {
        requests += 1;
        return html(response, 'not now', requests < 3 ? 503 : 200);
      }
      if (url === '/broken') return html(response, 'never', 500);
      return false;
    },
  });
  const urls = ['/flaky', '/broken', '/gone', '/page/1'].map((path) => site.url(path));
  const extract = { price: { selector: '.price', required: true } };
  const handlers = [{ globs: ['**/page/*'], extract }];
  const { exitCode, output } = await crawlers.start({ startUrls: urls, handlers, links: false, maxRetries: 2 }).ended;
  t.equal(exitCode, 0, 'one page was read');
  const of = (path: string) => crawlers.results().find(({ url }) => url === site.url(path));
  t.match(of('/flaky'), { statusCode: 200 });
  t.match(of('/broken'), { error: 'the server responded 500', retries: 2 });
  t.match(of('/gone'), { error: 'the server responded 404', retries: 0 });
  t.match(of('/page/1'), { error: /nothing on the page matches \.price/, retries: 2 });
  t.equal(site.hits.get('/gone'), 1, 'what is not there is not asked for again');
  t.match(output, /failed http:\S+\/gone: the server responded 404/);
  t.equal((await crawlers.start({ startUrls: [site.url('/gone')] }).ended).exitCode, 1, 'and with no page read at all, the crawl failed');
});

t.test('text of any charset, also where a character is cut in two on its way', async (t) => {
  const { site, crawlers } = await lab(t, {
    answer: ({ url }, response) => {
      const page = '<title>Grüße</title>';
      if (url === '/utf8') {
        const bytes = Buffer.from(page);
        const cut = bytes.indexOf(0xc3) + 1;
        response.writeHead(200, { 'content-type': 'text/html' }).write(bytes.subarray(0, cut));
        setTimeout(() => response.end(bytes.subarray(cut)), 200);
      } else if (url === '/latin1')
        response.writeHead(200, { 'content-type': 'text/html; charset=iso-8859-1' }).end(Buffer.from(page, 'latin1'));
      else return false;
      return true;
    },
  });
  await crawlers.start({ startUrls: [site.url('/utf8'), site.url('/latin1')], links: false }).ended;
  t.same(
    crawlers.results().map(({ title }) => title),
    ['Grüße', 'Grüße'],
  );
});

t.test('a page that was cut off is never taken for a whole one, however it was cut', async (t) => {
  const page = Buffer.from(`<title>cut</title>${'<p>text</p>'.repeat(20_000)}`);
  const packed = gzipSync(page);
  const half = packed.subarray(0, packed.length - 20);
  const html = { 'content-type': 'text/html' };
  const cuts: Readonly<Record<string, (response: ServerResponse) => unknown>> = {
    '/length': (response) => response.writeHead(200, { ...html, 'content-length': page.length + 1 }).end(page),
    '/chunks': (response) => response.writeHead(200, html).write(page, () => response.destroy()),
    '/packed': (response) => response.writeHead(200, { ...html, 'content-encoding': 'gzip', 'content-length': half.length }).end(half),
    '/reset': (response) => response.socket?.write(`HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n${page}`),
  };
  const { site, crawlers } = await lab(t, {
    answer: ({ url = '' }, response) => {
      const cut = cuts[url];
      cut?.(response);
      if (url === '/reset') setTimeout(() => response.socket?.resetAndDestroy(), 100);
      return cut !== undefined;
    },
  });
  await crawlers.start({ startUrls: Object.keys(cuts).map((path) => site.url(path)), links: false, maxRetries: 0 }).ended;
  t.same(
    crawlers
      .results()
      .map(({ url, error }) => [new URL(url).pathname, typeof error])
      .sort(),
    Object.keys(cuts)
      .map((path) => [path, 'string'])
      .sort(),
  );
});

t.test('robots.txt is obeyed unless told otherwise', async (t) => {
  const robots = 'User-agent: *\nDisallow: /page/3\nCrawl-delay: 0.3\n';
  const { site, crawlers } = await lab(t, {
    answer: ({ url }, response) => {
      if (url === '/robots.txt') response.end(robots);
      else if (url === '/to') response.writeHead(302, { location: '/page/3' }).end();
      else return false;
      return true;
    },
  });
  const startUrls = ['/page/0', '/page/3', '/to'].map((path) => site.url(path));
  await crawlers.start({ startUrls, maxPages: 8 }).ended;
  t.notOk(site.hits.has('/page/3'), 'neither as a start, by a link nor by a redirect');
  t.match(
    crawlers.results().find(({ url }) => url.endsWith('/page/3')),
    { error: /robots\.txt of .* forbids it/ },
  );
  t.match(
    crawlers.results().find(({ url }) => url.endsWith('/to')),
    { error: /robots\.txt of .* forbids it/ },
  );
  t.equal(site.hits.get('/robots.txt'), 1, 'asked for once');
  const spanMs = (site.hitAt.at(-1) ?? 0) - (site.hitAt[0] ?? 0);
  // Half of the expected time, since the first may be late; without any delay it is a twentieth of that.
  t.ok(site.hitAt.length >= 5 && spanMs >= 150 * (site.hitAt.length - 1), 'with the delay that it asks for');
  site.hits.clear();
  await crawlers.start({ startUrls, maxPages: 8, respectRobotsTxt: false }).ended;
  t.ok(site.hits.has('/page/3') && !site.hits.has('/robots.txt'));
});

t.test('a host whose robots.txt cannot be read is not crawled until it can be', async (t) => {
  const crawlers = new LabCrawlers();
  t.teardown(() => crawlers.close());
  /** A site that responds like this to the first `failures` requests of its robots.txt, and then that it has none. */
  const start = async (fault: (response: ServerResponse) => unknown, failures = Number.POSITIVE_INFINITY) => {
    let left = failures;
    const site = await Site.start({
      pages: 2,
      answer: ({ url }, response) => {
        left -= url === '/robots.txt' ? 1 : 0;
        if (url !== '/robots.txt' || left < 0) return false;
        fault(response);
        return true;
      },
    });
    t.teardown(() => site.close());
    return site;
  };
  const broken = {
    refused: await start((response) => response.writeHead(503).end()),
    closed: await start((response) => response.destroy()),
    cut: await start((response) => response.writeHead(200, { 'content-length': 99 }).write('User-agent: *\n', () => response.destroy())),
  };
  const absent = [
    await start((response) => response.writeHead(302, { location: 'http://' }).end()),
    await start((response) => response.writeHead(429).end()),
  ];
  const startUrls = [...Object.values(broken), ...absent].map((site) => site.url('/page/1'));
  const of = (site: Site, path = '/page/1') => crawlers.results().find(({ url }) => url === site.url(path));
  await crawlers.start({ startUrls, links: false, maxRetries: 0 }).ended;
  t.match(of(broken.refused), { error: /^the robots\.txt of 127\.0\.0\.1:\d+ could not be read: the server responded 503$/ });
  t.match(of(broken.closed), { error: /^the robots\.txt of 127\.0\.0\.1:\d+ could not be read: socket hang up$/ });
  t.match(of(broken.cut), { error: /^the robots\.txt of 127\.0\.0\.1:\d+ could not be read: / });
  for (const site of Object.values(broken)) t.same(site.asked, { pages: 0, times: 0 }, 'no page is requested');
  for (const site of absent) t.match(of(site), { statusCode: 200 }, 'a 4xx or a redirect to nowhere is as good as no file');

  const later = await start((response) => response.writeHead(503).end(), 2);
  const page = await Site.start({ pages: 0, answer: (_, response) => html(response, `<a href="${later.url('/page/0')}">a link</a>`) });
  t.teardown(() => page.close());
  const { exitCode } = await crawlers.start({ startUrls: [page.url('/')], links: { within: 'all' }, maxRetries: 8 }).ended;
  t.equal(exitCode, 0);
  t.match(of(later, '/page/0'), { statusCode: 200 }, 'a page is read once the file can be, also one found by a link');
  t.equal(later.hits.get('/robots.txt'), 3);
});

t.test('pages of one host keep their distance', async (t) => {
  const { site, crawlers } = await lab(t);
  await crawlers.start({ startUrls: [site.url('/page/0')], maxPages: 5, delayMs: 300 }).ended;
  t.equal(site.hitAt.length, 5);
  t.ok((site.hitAt[4] ?? 0) - (site.hitAt[0] ?? 0) >= 600);
});

t.test('what a hostile page may try', async (t) => {
  const bomb = gzipSync(Buffer.alloc(20 * 1024 * 1024));
  const { site, crawlers } = await lab(t, {
    answer: ({ url }, response) => {
      if (url === '/file') response.writeHead(302, { location: 'file:///etc/passwd' }).end();
      else if (url === '/loop') response.writeHead(302, { location: '/loop' }).end();
      else if (url === '/bomb') response.writeHead(200, { 'content-type': 'text/html', 'content-encoding': 'gzip' }).end(bomb);
      else if (url === '/slow') response.writeHead(200, { 'content-type': 'text/html' }).write('<html>');
      else if (url === '/binary') response.writeHead(200, { 'content-type': 'application/octet-stream' }).end('x');
      else if (url === '/links')
        html(
          response,
          '<a href="file:///etc/passwd">a</a><a href="javascript:alert(1)">b</a><a href="http://u:p@127.0.0.1/">c</a><a href="http://">d</a>',
        );
      else return false;
      return true;
    },
  });
  const crawl = async (paths: readonly string[], actor: object = {}) => {
    const startUrls = paths.map((path) => site.url(path));
    return (await crawlers.start({ startUrls, maxRetries: 0, maxPageBytes: 1_000_000, ...actor }).ended).exitCode;
  };
  t.equal(await crawl(['/file', '/loop', '/bomb', '/binary', '/links']), 0);
  t.not(await crawl(['/slow'], { pageTimeoutSecs: 1 }), 0, 'no page was read');
  const error = (path: string) => crawlers.results().find(({ url }) => url === site.url(path))?.error;
  t.match(error('/file'), /redirects to file:/);
  t.match(error('/loop'), /more than 10 redirects/);
  t.match(error('/bomb'), /more than 1000000 bytes/);
  t.match(error('/slow'), /took longer than 1 s/);
  t.match(error('/binary'), /application\/octet-stream/);
  t.equal(error('/links'), undefined);
  t.equal(crawlers.results().length, 6, 'and none of the links was followed');
});

t.test('a config that cannot be used is told with the place of the fault', async (t) => {
  const crawlers = new LabCrawlers();
  t.teardown(() => crawlers.close());
  const refused = async (actor: object | string, why: RegExp, env = {}) => {
    const { exitCode, output } = await crawlers.start(actor, env).ended;
    t.equal(exitCode, 2, output);
    t.match(output, why);
  };
  await refused('%', /ACTOR_CONFIG is not JSON in base64/);
  await refused({ startUrls: ['file:///etc/passwd'] }, /wrong at startUrls\.0/);
  await refused({ startUrls: [], extract: { a: 'h1[' } }, /h1\[ is not a CSS selector/);
  await refused({ startUrls: [] }, /QUEUE_NAME is not/, { REDIS_URL: 'redis://127.0.0.1:1' });
  await refused({ startUrls: [] }, /RUN_ID is not/, { API_BASE_URL: 'http://127.0.0.1:1' });
});

t.test('results and the status go to the API, with its key, again while it is away', async (t) => {
  const { site, crawlers } = await lab(t);
  const calls: { readonly path: string; readonly key: unknown; readonly body: unknown }[] = [];
  let away = 2;
  const api = await Site.start({
    pages: 0,
    answer: (request: IncomingMessage, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += String(chunk);
      });
      request.on('end', () => {
        away -= 1;
        if (away >= 0) response.writeHead(503).end();
        else {
          calls.push({ path: `${request.method} ${request.url}`, key: request.headers['x-api-key'], body: JSON.parse(text) });
          response.end('{}');
        }
      });
      return true;
    },
  });
  t.teardown(() => api.close());
  const env = { API_BASE_URL: `${api.url('')}/`, WORKER_API_KEY: 'dwk_secret', RUN_ID: 'run 1', PEERWORK_RESULTS: '' };
  const { exitCode, output } = await crawlers.start({ startUrls: [site.url('/page/0')], maxPages: 10 }, env).ended;
  t.equal(exitCode, 0, output);
  const results = calls.filter(({ path }) => path === 'POST /api/runs/run%201/results').flatMap(({ body }) => body as object[]);
  t.equal(results.length, 10);
  t.same(calls.at(-1), {
    path: 'POST /api/runs/run%201/status',
    key: 'dwk_secret',
    body: { status: 'completed', exitCode: 0, stats: { handled: 10, failed: 0 } },
  });
  t.ok(calls.every(({ key }) => key === 'dwk_secret'));
  t.notMatch(output, /dwk_secret/);
});

t.test('an API that refuses the results ends the crawl', async (t) => {
  const { site, crawlers } = await lab(t);
  const api = createHttpServer((_, response) => response.writeHead(401).end());
  await new Promise<void>((resolve) => api.listen(0, '127.0.0.1', resolve));
  t.teardown(() => api.close());
  const port = (api.address() as { port: number }).port;
  const env = { API_BASE_URL: `http://127.0.0.1:${port}`, RUN_ID: 'r', PEERWORK_RESULTS: '' };
  const { exitCode, output } = await crawlers.start({ startUrls: [site.url('/page/0')] }, env).ended;
  t.equal(exitCode, 1);
  t.match(output, /results of the API cannot be used: it responded 401/);
  t.ok(site.asked.pages <= 10, 'at once');
});

t.test('with a proxy socket, every connection goes through it', async (t) => {
  const { site, crawlers } = await lab(t);
  const targets: string[] = [];
  const path = join(crawlers.folder, 'proxy.sock');
  const sockets = new Set<Socket>();
  const proxy = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', (head) => {
      const target = /^CONNECT (\S+) HTTP\/1\.1\r\n/.exec(head.toString())?.[1] ?? '';
      targets.push(target);
      if (!target.startsWith('site.test:')) return void socket.end('HTTP/1.1 403 Forbidden\r\nx-peerwork-refused: it is private\r\n\r\n');
      const upstream = connect(site.port, '127.0.0.1');
      sockets.add(upstream);
      upstream.on('error', () => {});
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(upstream).pipe(socket);
    });
  });
  await new Promise<void>((resolve) => proxy.listen(path, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const startUrls = ['http://site.test:8080/page/0', 'http://192.168.1.1/', 'https://10.0.0.1/'];
  const { exitCode, output } = await crawlers.start({ startUrls, maxRetries: 0 }, { PEERWORK_PROXY_SOCKET: path }).ended;
  t.equal(exitCode, 0, output);
  t.equal(site.asked.pages, 50);
  t.same([...new Set(targets)].sort(), ['10.0.0.1:443', '192.168.1.1:80', 'site.test:8080']);
  t.equal(crawlers.results().filter(({ error }) => /is refused: it is private/.test(error ?? '')).length, 2);
});

t.test('it ends when it is told to', async (t) => {
  const { site, crawlers } = await lab(t, { pages: 5_000, delayMs: 20 });
  const crawler = crawlers.start({ startUrls: [site.url('/page/0')], maxPages: 5_000 });
  await until(() => site.asked.pages >= 20);
  crawler.kill('SIGTERM');
  const { exitCode } = await crawler.ended;
  t.equal(exitCode, 143);
  t.ok(site.asked.pages < 5_000);
});
