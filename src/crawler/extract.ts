import type { CheerioCrawlingContext } from '@crawlee/cheerio';
import { getDomain } from 'tldts';
import type { Actor, Fields, Handler, Links } from '../crawl/actor.js';
import { compileGlobs, type Glob } from './globs.js';

export type Page = CheerioCrawlingContext['$'];

const MAX_TITLE_CHARS = 1_000;

/** A page lacks what its handler requires. */
export class Missing extends Error {}

interface FollowedLinks {
  readonly selector: string;
  readonly follows: (url: URL, from: URL) => boolean;
}

interface Handling {
  readonly name: string | undefined;
  readonly handles: Glob;
  readonly fields: Fields;
  /** Absent: none is followed. */
  readonly links: FollowedLinks | undefined;
}

/** What the actor config says about pages, made ready once. */
export class Handlers {
  readonly #handlers: readonly Handling[];
  readonly #others: Handling;

  constructor(actor: Actor) {
    const links = followed(actor.links ?? { selector: 'a[href]' });
    this.#others = { name: undefined, handles: () => true, fields: actor.extract ?? {}, links };
    this.#handlers = actor.handlers.map((handler) => handling(handler, links));
  }

  /** The handler of a page: the first that is for it, else what holds for all. */
  of(url: string): Handling {
    return this.#handlers.find(({ handles }) => handles(url)) ?? this.#others;
  }

  get selectors(): string[] {
    return [this.#others, ...this.#handlers].flatMap(({ fields, links }) => [
      ...Object.values(fields).map((field) => (typeof field === 'string' ? field : field.selector)),
      ...(links === undefined ? [] : [links.selector]),
    ]);
  }
}

function handling({ name, globs, extract, links }: Handler, others: FollowedLinks | undefined): Handling {
  return {
    name,
    handles: globs === undefined ? () => true : compileGlobs(globs),
    fields: extract ?? {},
    links: links === undefined ? others : followed(links),
  };
}

function followed(links: Links | false): FollowedLinks | undefined {
  if (links === false) return undefined;
  const { selector, globs, exclude = [], within = globs === undefined ? 'host' : 'all' } = links;
  const wanted: Glob = globs === undefined ? () => true : compileGlobs(globs);
  const unwanted = compileGlobs(exclude);
  const near = {
    host: (url: URL, from: URL) => url.host === from.host,
    domain: (url: URL, from: URL) => url.host === from.host || (getDomain(url.hostname) ?? url.hostname) === getDomain(from.hostname),
    all: () => true,
  }[within];
  return { selector, follows: (url, from) => near(url, from) && wanted(url.href) && !unwanted(url.href) };
}

/** The fields of a page. Throws Missing. */
export function extractFields($: Page, fields: Fields): Record<string, unknown> {
  const data: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    const { selector, attribute, html = false, all = false, required = false } = typeof field === 'string' ? { selector: field } : field;
    const found = $(selector);
    if (found.length === 0 && required) throw new Missing(`nothing on the page matches ${selector}, which ${name} requires`);
    const valueAt = (at: number): string | null => {
      const element = found.eq(at);
      if (attribute !== undefined) return element.attr(attribute) ?? null;
      return html ? element.html() : element.text().replace(/\s+/g, ' ').trim();
    };
    if (all) data[name] = found.toArray().map((_, at) => valueAt(at));
    else data[name] = found.length === 0 ? null : valueAt(0);
  }
  return data;
}

export function titleOf($: Page): string | undefined {
  const title = $('title').first().text().replace(/\s+/g, ' ').trim();
  return title === '' ? undefined : title.slice(0, MAX_TITLE_CHARS);
}

/** The addresses that a page leads on to, each once, without fragments. */
export function linksOf($: Page, loadedUrl: string, links: FollowedLinks): URL[] {
  const from = new URL(loadedUrl);
  const base = resolve($('base[href]').first().attr('href'), from) ?? from;
  const found = new Map<string, URL>();
  for (const element of $(links.selector).toArray()) {
    const url = resolve($(element).attr('href'), base);
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') continue;
    url.hash = '';
    if (!found.has(url.href) && links.follows(url, from)) found.set(url.href, url);
  }
  return [...found.values()];
}

function resolve(href: string | undefined, base: URL): URL | undefined {
  try {
    return href === undefined ? undefined : new URL(href.trim(), base);
  } catch {
    return undefined;
  }
}
