import * as v from 'valibot';

/**
 * The actor config: what a crawl is to do. Single source of truth: the Worker validates against it before a container starts, the crawler
 * when it starts, and `assets/crawler/actor.schema.json` is generated from it (`npm run generate`).
 */

const MAX_START_URLS = 10_000;
const MAX_PAGES = 10_000_000;
const MAX_SELECTORS = 200;
const MAX_HANDLERS = 100;
const MAX_GLOBS = 1_000;
const MAX_TEXT = 2_000;

export const DEFAULT_MAX_PAGES = 1_000;
const DEFAULT_RETRIES = 3;
const DEFAULT_CONCURRENCY = 10;
const DEFAULT_PAGE_SECS = 30;
const DEFAULT_PAGE_BYTES = 5 * 1024 * 1024;

const integer = (min: number, max: number) => v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const text = v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_TEXT));
const describe = v.description;

const address = v.pipe(
  v.string(),
  v.maxLength(MAX_TEXT),
  v.regex(/^[hH][tT][tT][pP][sS]?:\/\/[^\s/?#@]+([/?#]\S*)?$/, 'must be an http or https address without a user'),
);
/** `*` within a part of a path, `**` across parts, `?` one character; matched against the whole address. */
const glob = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(MAX_TEXT),
  describe('Matched against the whole address, such as https://example.org/news/**'),
);
const globs = v.pipe(v.array(glob), v.maxLength(MAX_GLOBS));

const field = v.union([
  v.pipe(text, describe('A CSS selector: the text of the first match.')),
  v.strictObject({
    selector: v.pipe(text, describe('A CSS selector.')),
    attribute: v.optional(v.pipe(text, describe('The attribute to take instead of the text.'))),
    html: v.optional(v.pipe(v.boolean(), describe('The inner HTML instead of the text.'))),
    all: v.optional(v.pipe(v.boolean(), describe('Every match, as a list; else the first alone.'))),
    required: v.optional(v.pipe(v.boolean(), describe('A page without a match fails, and is tried again like any page that fails.'))),
  }),
]);
const fields = v.pipe(v.record(text, field), v.maxEntries(MAX_SELECTORS));

const links = v.strictObject({
  selector: v.optional(v.pipe(text, describe('Which elements hold links, by their href.')), 'a[href]'),
  globs: v.optional(v.pipe(globs, describe('Only links that match one of these. Without any: links of the same host.'))),
  exclude: v.optional(v.pipe(globs, describe('Links that match one of these are left out.'))),
  within: v.optional(
    v.pipe(
      v.picklist(['host', 'domain', 'all']),
      describe('Whether links may leave the host of their page, or its domain. Default host, with globs all.'),
    ),
  ),
});

const handler = v.strictObject({
  name: v.optional(v.pipe(text, describe('Name of the handler in the results of its pages.'))),
  globs: v.optional(v.pipe(globs, describe('Globs of the addresses that it handles. Default: all.'))),
  extract: v.optional(v.pipe(fields, describe('Field to selector.'))),
  links: v.optional(
    v.pipe(
      v.union([links, v.literal(false)]),
      describe('Which links of its pages are followed, instead of those of the crawl; false for none.'),
    ),
  ),
});

export const actorSchema = v.strictObject({
  startUrls: v.pipe(
    v.array(v.union([address, v.strictObject({ url: address })])),
    v.maxLength(MAX_START_URLS),
    describe('Where the crawl begins.'),
  ),
  maxPages: v.optional(v.pipe(integer(1, MAX_PAGES), describe('Maximum of pages requested, over all containers.')), DEFAULT_MAX_PAGES),
  maxDepth: v.optional(v.pipe(integer(0, 1_000), describe('Maximum of links away from a start address; 0 follows none.'))),
  extract: v.optional(v.pipe(fields, describe('Field to selector, for pages without a matching handler.'))),
  links: v.optional(v.pipe(v.union([links, v.literal(false)]), describe('Which links are followed; false for none.'))),
  handlers: v.optional(v.pipe(v.array(handler), v.maxLength(MAX_HANDLERS), describe('The first whose globs match a page handles it.')), []),
  respectRobotsTxt: v.optional(
    v.pipe(v.boolean(), describe('Whether the robots.txt of a host is obeyed, its crawl-delay up to 60 s included.')),
    true,
  ),
  delayMs: v.optional(
    v.pipe(integer(0, 3_600_000), describe('Minimum time between two pages of one host, in milliseconds, over all containers.')),
    0,
  ),
  maxConcurrency: v.optional(v.pipe(integer(1, 200), describe('Concurrent pages in one container.')), DEFAULT_CONCURRENCY),
  maxRetries: v.optional(v.pipe(integer(0, 100), describe('Maximum of retries of a failed page.')), DEFAULT_RETRIES),
  pageTimeoutSecs: v.optional(v.pipe(integer(1, 600), describe('Time limit of a page, in seconds.')), DEFAULT_PAGE_SECS),
  maxPageBytes: v.optional(v.pipe(integer(1_024, 104_857_600), describe('A larger page fails.')), DEFAULT_PAGE_BYTES),
  userAgent: v.optional(
    v.pipe(
      v.string(),
      v.minLength(1),
      v.maxLength(300),
      v.regex(/^[\x20-\x7e]+$/, 'must be printable ASCII'),
      describe('Sent with every page; robots.txt is read for this name.'),
    ),
  ),
  headers: v.optional(
    v.pipe(
      v.record(
        v.pipe(v.string(), v.regex(/^[A-Za-z0-9-]{1,100}$/, 'must be a header name')),
        v.pipe(v.string(), v.maxLength(MAX_TEXT), v.regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')),
      ),
      v.maxEntries(50),
      describe('Sent with every page.'),
    ),
  ),
  runId: v.optional(v.pipe(text, describe('Run that the results belong to, unless `RUN_ID` or `QUEUE_NAME` is set.'))),
});

export type Actor = v.InferOutput<typeof actorSchema>;
export type Handler = v.InferOutput<typeof handler>;
export type Links = v.InferOutput<typeof links>;
export type Fields = v.InferOutput<typeof fields>;

/** Returns the config with its defaults, or its fault: the path of the first invalid field, and the reason. */
export function readActor(config: unknown): { readonly actor: Actor } | { readonly fault: string } {
  const result = v.safeParse(actorSchema, config, { abortPipeEarly: true });
  if (result.success) return { actor: result.output };
  return { fault: describeFault(result.issues[0]) };
}

function describeFault(issue: v.BaseIssue<unknown>): string {
  // Of a union, the branch that got furthest has the most specific message.
  const deepest = [...(issue.issues ?? [])].sort((a, b) => (b.path?.length ?? 0) - (a.path?.length ?? 0))[0];
  if (deepest?.path !== undefined) {
    const inner = describeFault(deepest);
    const outer = v.getDotPath(issue);
    return outer === null ? inner : `${outer}.${inner}`;
  }
  const where = v.getDotPath(issue) ?? 'the config';
  return `${where}: ${(deepest ?? issue).message}`;
}
