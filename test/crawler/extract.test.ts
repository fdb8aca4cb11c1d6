import { load } from 'cheerio';
import t from 'tap';
import { linksOf, outlineOf, titleOf } from '../../src/crawler/extract.js';

const read = (html: string, xmlMode = false) => load(html, { xmlMode, _useHtmlParser2: true } as Parameters<typeof load>[1]);

const pages: Readonly<Record<string, string>> = {
  usual: '<title> A  title </title><base><base href="/b/"><base href="/c/"><a href="x#y">1</a><a>no</a><p><A HREF="#">2</a></p>',
  nested: '<div><ul><li><a href=1><b>1</b><title>late</title></a><li><a href="2">2</ul></div><svg><a href="3"/><title>svg</title></svg>',
  odd: '<!-- <a href="0"> --><script>"<a href=1>"</script><template><a href="2"></a></template><a href=""></a><title></title><title>b</title>',
  empty: '',
  text: 'no element at all',
};

t.test('one walk finds what selectors find', async (t) => {
  for (const [name, html] of Object.entries(pages))
    for (const xmlMode of [false, true]) {
      const $ = read(html, xmlMode);
      const outline = outlineOf($);
      t.same(outline.anchors, $('a[href]').toArray(), name);
      t.equal(outline.title, $('title').toArray()[0], name);
      t.equal(outline.baseHref, $('base[href]').attr('href'), name);
    }
});

t.test('links are the same by the usual selector and by another that means the same', async (t) => {
  const $ = read(pages['usual'] ?? '');
  const outline = outlineOf($);
  const links = (selector: string) => linksOf($, outline, 'http://site.test/a/', { selector, follows: () => true }).map(({ href }) => href);
  t.same(links('a[href]'), ['http://site.test/b/x', 'http://site.test/b/']);
  t.same(links('a'), links('a[href]'));
  t.equal(titleOf($, outline), 'A title');
});

t.test('a page that is nested without end is walked to its end', async (t) => {
  const outline = outlineOf(read(`${'<b>'.repeat(100_000)}<a href="/end">end</a>`));
  t.equal(outline.anchors.length, 1);
});
