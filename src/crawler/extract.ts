import type { AnyNode, CheerioAPI, Element } from 'cheerio';
import { getDomain } from 'tldts';
import type { Actor, Fields, Handler, Links } from '../crawl/actor.js';

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
  /** Absent if no links are followed. */
  readonly links: FollowedLinks | undefined;
}

/** The actor config's rules about pages, compiled once. */
export class Handlers {
  readonly #handlers: readonly Handling[];
  readonly #others: Handling;

  constructor(actor: Actor) {
    const links = followed(actor.links ?? { selector: 'a[href]' });
    this.#others = { name: undefined, handles: () => true, fields: actor.extract ?? {}, links };
    this.#handlers = actor.handlers.map((handler) => handling(handler, links));
  }

  /** Returns the first handler that matches a page, else the default for all. */
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
  const inScope = {
    host: (url: URL, from: URL) => url.host === from.host,
    domain: (url: URL, from: URL) => url.host === from.host || (getDomain(url.hostname) ?? url.hostname) === getDomain(from.hostname),
    all: () => true,
  }[within];
  return { selector, follows: (url, from) => inScope(url, from) && wanted(url.href) && !unwanted(url.href) };
}

/** Returns the fields of a page. Throws Missing. */
export function extractFields($: CheerioAPI, fields: Fields): Record<string, unknown> {
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

export function titleOf($: CheerioAPI, { title }: Outline): string | undefined {
  const text = title === undefined ? '' : $(title).text().replace(/\s+/g, ' ').trim();
  return text === '' ? undefined : text.slice(0, MAX_TITLE_CHARS);
}

/** What is needed from every page, found in a single walk: one selector for each costs more than the parser. */
export interface Outline {
  readonly title: Element | undefined;
  /** Of the first base element that has one. */
  readonly baseHref: string | undefined;
  /** All `a[href]`. */
  readonly anchors: readonly Element[];
}

export function outlineOf($: CheerioAPI): Outline {
  let title: Element | undefined;
  let baseHref: string | undefined;
  const anchors: Element[] = [];
  const root = $.root()[0];
  // Without recursion, because the nesting of a page is unlimited.
  for (let node: AnyNode | null | undefined = root; node != null; ) {
    if (isTag(node)) {
      if (node.name === 'title') title ??= node;
      else if (node.attribs['href'] !== undefined) {
        if (node.name === 'a') anchors.push(node);
        else if (node.name === 'base') baseHref ??= node.attribs['href'];
      }
    }
    const child: AnyNode | undefined = 'children' in node ? node.children[0] : undefined;
    if (child !== undefined) node = child;
    else {
      while (node != null && node.next === null) node = node.parent;
      node = node?.next;
    }
  }
  return { title, baseHref, anchors };
}

/** Returns the addresses that a page links to, without duplicates and fragments. */
export function linksOf($: CheerioAPI, outline: Outline, loadedUrl: string, links: FollowedLinks): URL[] {
  const from = new URL(loadedUrl);
  const base = resolve(outline.baseHref, from) ?? from;
  const found = new Map<string, URL>();
  const elements = links.selector === 'a[href]' ? outline.anchors : $(links.selector).toArray();
  for (const element of elements) {
    const url = isTag(element) ? resolve(element.attribs['href'], base) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') continue;
    if (url.href.includes('#')) url.hash = '';
    if (!found.has(url.href) && links.follows(url, from)) found.set(url.href, url);
  }
  return [...found.values()];
}

function isTag(node: AnyNode): node is Element {
  return 'attribs' in node;
}

function resolve(href: string | undefined, base: URL): URL | undefined {
  try {
    return href === undefined ? undefined : new URL(href.trim(), base);
  } catch {
    return undefined;
  }
}

/** Whether a text matches a glob: `*` within a part of a path, `**` across parts, `?` any one character but a slash. */
type Glob = (text: string) => boolean;

function compileGlobs(globs: readonly string[]): Glob {
  const patterns = globs.map((glob) => new RegExp(`^${translate(glob)}$`));
  return (text) => patterns.some((pattern) => pattern.test(text));
}

function translate(glob: string): string {
  return glob.replace(/\*\*|[*?]|[.+^${}()|[\]\\]/g, (token) => {
    if (token === '**') return '.*';
    if (token === '*') return '[^/]*';
    // A question mark is part of many addresses, and matches itself too.
    if (token === '?') return '[^/]';
    return `\\${token}`;
  });
}
