/**
 * The part of the owner's npm settings that is needed to reach a registry, with npm's own precedence: environment, user file, global file,
 * npm's built-in file. npm itself sees only the file generated from this; docs/tasks.md explains why.
 */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { tryParseJson } from '../kit/json.js';

const QUERY_LIMIT_MS = 30_000;

const defaultRegistries = new Map<string, Promise<string>>();

const MAX_FILE_BYTES = 1024 * 1024;

/** Settings of a scope whose credentials the owner allows npm to use. */
export interface ScopeSettings {
  readonly registry: string;
  /** Lines of an npmrc file, by key such as `//host/path/:_authToken`. */
  readonly credentials: Readonly<Record<string, string>>;
}

export interface NpmSettings {
  readonly registry: string;
  readonly scopes: ReadonlyMap<string, ScopeSettings>;
  readonly proxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
  readonly strictSsl: boolean;
  /** PEM certificates that replace Node's own. */
  readonly ca?: string;
  /** PEM certificates in addition to Node's own. */
  readonly extraCa?: string;
}

export interface SettingsSource {
  readonly environment: NodeJS.ProcessEnv;
  /** Folder in which npm is installed, with its built-in npmrc. */
  readonly npmFolder: string;
  /** Scopes whose registry and credentials are read. */
  readonly scopes: readonly string[];
}

type Values = ReadonlyMap<string, readonly string[]>;

export async function readNpmSettings({ environment, npmFolder, scopes }: SettingsSource): Promise<NpmSettings> {
  const fromEnvironment = readEnvironment(environment);
  const builtin = await readFileValues(join(npmFolder, 'npmrc'), environment);
  const userFile = lastValue([fromEnvironment, builtin], 'userconfig') ?? join(environment['HOME'] ?? homedir(), '.npmrc');
  const user = await readFileValues(userFile, environment);
  const prefix = lastValue([fromEnvironment, user, builtin], 'prefix') ?? environment['PREFIX'] ?? dirname(dirname(process.execPath));
  const globalFile = lastValue([fromEnvironment, user, builtin], 'globalconfig') ?? join(prefix, 'etc', 'npmrc');
  const layers = [fromEnvironment, user, await readFileValues(globalFile, environment), builtin];

  const registry = url(lastValue(layers, 'registry')) ?? (await defaultRegistry(npmFolder));
  const caFile = lastValue(layers, 'cafile');
  const ca = caFile === undefined ? firstNonEmpty(layers, 'ca')?.join('\n').replace(/\\n/g, '\n') : await readText(caFile, environment);
  const extraFile = environment['NODE_EXTRA_CA_CERTS'];
  const extraCa = extraFile === undefined ? undefined : await readText(extraFile, environment);
  const proxy = url(lastValue(layers, 'proxy') ?? variable(environment, 'http_proxy'));
  const httpsProxy = url(lastValue(layers, 'https-proxy') ?? variable(environment, 'https_proxy'));
  const noProxy =
    firstNonEmpty(layers, 'noproxy')?.join(',') ?? firstNonEmpty(layers, 'no-proxy')?.join(',') ?? variable(environment, 'no_proxy');
  return {
    registry,
    scopes: new Map(scopes.map((scope) => [scope, readScope(layers, scope, registry)])),
    strictSsl: lastValue(layers, 'strict-ssl') !== 'false',
    ...(proxy !== undefined && { proxy }),
    ...(httpsProxy !== undefined && { httpsProxy }),
    ...(noProxy !== undefined && { noProxy }),
    ...(ca !== undefined && { ca }),
    ...(extraCa !== undefined && { extraCa }),
  };
}

/** Reads the settings of a scope. Credentials are stored under a registry's address without its protocol, or under a parent path of it. */
function readScope(layers: readonly Values[], scope: string, fallback: string): ScopeSettings {
  const registry = url(lastValue(layers, `${scope}:registry`)) ?? fallback;
  const { host, pathname } = new URL(registry);
  const place = `//${host}${pathname.endsWith('/') ? pathname : `${pathname}/`}`;
  const credentials: Record<string, string> = {};
  for (const layer of [...layers].reverse())
    for (const [key, values] of layer) {
      const [, at] = /^(\/\/.*\/?):(?:_authToken|_auth|username|_password)$/.exec(key) ?? [];
      if (at !== undefined && place.startsWith(at.endsWith('/') ? at : `${at}/`)) credentials[key] = values.at(-1) ?? '';
    }
  return { registry, credentials };
}

function lastValue(layers: readonly Values[], key: string): string | undefined {
  return firstNonEmpty(layers, key)?.at(-1);
}

function firstNonEmpty(layers: readonly Values[], key: string): readonly string[] | undefined {
  return layers.find((layer) => (layer.get(key)?.at(-1) ?? '') !== '')?.get(key);
}

function variable(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  return environment[name] ?? environment[name.toUpperCase()];
}

function url(text: string | undefined): string | undefined {
  return text !== undefined && URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? text : undefined;
}

function readEnvironment(environment: NodeJS.ProcessEnv): Values {
  const values = new Map<string, readonly string[]>();
  for (const [name, value] of Object.entries(environment)) {
    const key = /^npm_config_(.+)$/i.exec(name)?.[1];
    if (key === undefined || value === undefined) continue;
    const written = key.startsWith('//') ? key : key.replace(/(?!^)_/g, '-').toLowerCase();
    values.set(written, expand(value, environment).split('\n\n'));
  }
  return values;
}

async function readFileValues(file: string, environment: NodeJS.ProcessEnv): Promise<Values> {
  const text = await readText(file, environment);
  return text === undefined ? new Map() : readIni(text, environment);
}

async function readText(path: string, environment: NodeJS.ProcessEnv): Promise<string | undefined> {
  const home = environment['HOME'] ?? homedir();
  const text = await readFile(resolve(path.replace(/^~(?=[/\\])/, home)), 'utf8').catch(() => undefined);
  return text !== undefined && text.length <= MAX_FILE_BYTES ? text : undefined;
}

/**
 * Parses an npmrc file: `key = value`, `key[] = value`, comments after `;` or `#`, quoted values. npm does not use sections; their content
 * is ignored.
 */
export function readIni(text: string, environment: NodeJS.ProcessEnv): Values {
  const values = new Map<string, string[]>();
  for (const line of text.split(/[\r\n]+/)) {
    if (/^\s*(?:[;#]|$)/.test(line)) continue;
    if (/^\s*\[[^\]]*\]\s*$/.test(line)) break;
    const [, name = '', list, written = 'true'] = /^([^=]*?)(\[\])?\s*(?:=(.*))?$/.exec(line) ?? [];
    const key = unquote(name.trim());
    const value = expand(unquote(written.trim()), environment);
    if (list === undefined) values.set(key, [value]);
    else values.set(key, [...(values.get(key) ?? []), value]);
  }
  return values;
}

function unquote(text: string): string {
  if (/^".*"$/s.test(text) && text.length > 1) {
    const value = tryParseJson(text, { maxBytes: MAX_FILE_BYTES });
    return typeof value === 'string' ? value : text;
  }
  if (/^'.*'$/s.test(text) && text.length > 1) return text.slice(1, -1);
  // A backslash escapes the next `;`, `#` or backslash.
  return text
    .replace(/^((?:\\[\s\S]|[^\\;#])*)[;#][\s\S]*$/, '$1')
    .replace(/\\([;#\\])/g, '$1')
    .trim();
}

/** Expands `${NAME}`, and `${NAME?}`, which is empty if there is no such variable; a preceding backslash escapes it. */
function expand(text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(/(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}/g, (match, escapes: string, name: string, optional?: string) => {
    if (escapes.length % 2 === 1) return match.slice((escapes.length + 1) / 2);
    return `${escapes.slice(escapes.length / 2)}${environment[name] ?? (optional === undefined ? `\${${name}}` : '')}`;
  });
}

/** Returns the only settings file that npm receives. `caFile` is the path at which it finds `ca`. */
export function npmrcOf(settings: NpmSettings, scopes: readonly string[], caFile: string): string {
  const { registry, proxy, httpsProxy, noProxy, strictSsl, ca } = settings;
  const lines: [string, string | undefined][] = [
    ['registry', registry],
    ['proxy', proxy],
    ['https-proxy', httpsProxy],
    ['noproxy', noProxy],
    ['strict-ssl', strictSsl ? undefined : 'false'],
    ['cafile', ca === undefined ? undefined : caFile],
  ];
  for (const scope of scopes) {
    const own = settings.scopes.get(scope);
    if (own !== undefined) lines.push([`${scope}:registry`, own.registry], ...Object.entries(own.credentials));
  }
  return lines.map(([key, value]) => (value === undefined ? '' : `${key}=${JSON.stringify(value)}\n`)).join('');
}

/**
 * Returns the `host:port` pairs that npm must reach. Any address is allowed, since the owner has named them and the public registry's name
 * resolves to whatever the owner's network says. If the owner uses a proxy, only access to that proxy can be enforced.
 */
export function registryPairs(settings: NpmSettings, scopes: readonly string[]): string[] {
  const own = scopes.map((scope) => settings.scopes.get(scope)?.registry);
  const named = [settings.registry, ...own, settings.proxy, settings.httpsProxy];
  return named.flatMap((address) => (address === undefined ? [] : pairOf(address)));
}

function pairOf(address: string): string {
  const { hostname, port, protocol } = new URL(address);
  return `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
}

/**
 * Returns the default registry of an npm without settings, by asking that npm. Once per process, since it takes npm a quarter of a second.
 */
function defaultRegistry(npmFolder: string): Promise<string> {
  let answer = defaultRegistries.get(npmFolder);
  if (answer === undefined) {
    answer = queryDefaultRegistry(npmFolder);
    defaultRegistries.set(npmFolder, answer);
    answer.catch(() => defaultRegistries.delete(npmFolder));
  }
  return answer;
}

function queryDefaultRegistry(npmFolder: string): Promise<string> {
  // No settings at all: no variables and no files; two names, since npm does not read the same file twice.
  const none = ['user', 'global'].map((kind) => `--${kind}config=${join(npmFolder, `no-${kind}-settings`)}`);
  const args = [join(npmFolder, 'bin', 'npm-cli.js'), 'config', 'get', 'registry', ...none];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: npmFolder, env: {}, timeout: QUERY_LIMIT_MS, windowsHide: true }, (error, stdout) => {
      const registry = stdout.trim();
      if (error === null && URL.canParse(registry)) resolve(registry);
      else reject(error ?? new Error('npm names no registry'));
    });
  });
}
