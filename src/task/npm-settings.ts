/**
 * Of the owner's settings of npm what is needed to reach a registry, read as npm reads them: the environment before the user's file before the global
 * one before npm's own. npm itself sees only the file that is made of this; docs/tasks.md says why.
 */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { tryParseJson } from '../kit/json.js';

const ASK_MS = 30_000;

const asked = new Map<string, Promise<string>>();

const MAX_FILE_BYTES = 1024 * 1024;

/** `@scope` and what goes with it, of the scopes whose credentials the owner allows. */
export interface ScopeSettings {
  readonly registry: string;
  /** Lines for a file, such as `//host/path/:_authToken`. */
  readonly credentials: Readonly<Record<string, string>>;
}

export interface NpmSettings {
  readonly registry: string;
  readonly scopes: ReadonlyMap<string, ScopeSettings>;
  readonly proxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
  readonly strictSsl: boolean;
  /** Certificates in PEM that stand in place of Node's own. */
  readonly ca?: string;
  /** Certificates in PEM besides Node's own. */
  readonly extraCa?: string;
}

export interface SettingsSource {
  readonly environment: NodeJS.ProcessEnv;
  /** Where npm is installed: its own npmrc is there. */
  readonly npmFolder: string;
  /** Scopes whose registry and credentials are read. */
  readonly scopes: readonly string[];
}

type Values = ReadonlyMap<string, readonly string[]>;

export async function readNpmSettings({ environment, npmFolder, scopes }: SettingsSource): Promise<NpmSettings> {
  const fromEnvironment = ofEnvironment(environment);
  const builtin = await ofFile(join(npmFolder, 'npmrc'), environment);
  const userFile = single([fromEnvironment, builtin], 'userconfig') ?? join(environment['HOME'] ?? homedir(), '.npmrc');
  const user = await ofFile(userFile, environment);
  const prefix = single([fromEnvironment, user, builtin], 'prefix') ?? environment['PREFIX'] ?? dirname(dirname(process.execPath));
  const globalFile = single([fromEnvironment, user, builtin], 'globalconfig') ?? join(prefix, 'etc', 'npmrc');
  const layers = [fromEnvironment, user, await ofFile(globalFile, environment), builtin];

  const registry = url(single(layers, 'registry')) ?? (await defaultRegistry(npmFolder));
  const caFile = single(layers, 'cafile');
  const ca = caFile === undefined ? many(layers, 'ca')?.join('\n').replace(/\\n/g, '\n') : await ofPath(caFile, environment);
  const extraFile = environment['NODE_EXTRA_CA_CERTS'];
  const extraCa = extraFile === undefined ? undefined : await ofPath(extraFile, environment);
  const proxy = url(single(layers, 'proxy') ?? variable(environment, 'http_proxy'));
  const httpsProxy = url(single(layers, 'https-proxy') ?? variable(environment, 'https_proxy'));
  const noProxy = many(layers, 'noproxy')?.join(',') ?? many(layers, 'no-proxy')?.join(',') ?? variable(environment, 'no_proxy');
  return {
    registry,
    scopes: new Map(scopes.map((scope) => [scope, ofScope(layers, scope, registry)])),
    strictSsl: single(layers, 'strict-ssl') !== 'false',
    ...(proxy !== undefined && { proxy }),
    ...(httpsProxy !== undefined && { httpsProxy }),
    ...(noProxy !== undefined && { noProxy }),
    ...(ca !== undefined && { ca }),
    ...(extraCa !== undefined && { extraCa }),
  };
}

/** Credentials are kept under the address of a registry without its protocol, or of a folder above it. */
function ofScope(layers: readonly Values[], scope: string, fallback: string): ScopeSettings {
  const registry = url(single(layers, `${scope}:registry`)) ?? fallback;
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

function single(layers: readonly Values[], key: string): string | undefined {
  return many(layers, key)?.at(-1);
}

function many(layers: readonly Values[], key: string): readonly string[] | undefined {
  return layers.find((layer) => (layer.get(key)?.at(-1) ?? '') !== '')?.get(key);
}

function variable(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  return environment[name] ?? environment[name.toUpperCase()];
}

function url(text: string | undefined): string | undefined {
  return text !== undefined && URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? text : undefined;
}

function ofEnvironment(environment: NodeJS.ProcessEnv): Values {
  const values = new Map<string, readonly string[]>();
  for (const [name, value] of Object.entries(environment)) {
    const key = /^npm_config_(.+)$/i.exec(name)?.[1];
    if (key === undefined || value === undefined) continue;
    const written = key.startsWith('//') ? key : key.replace(/(?!^)_/g, '-').toLowerCase();
    values.set(written, expand(value, environment).split('\n\n'));
  }
  return values;
}

async function ofFile(file: string, environment: NodeJS.ProcessEnv): Promise<Values> {
  const text = await ofPath(file, environment);
  return text === undefined ? new Map() : readIni(text, environment);
}

async function ofPath(path: string, environment: NodeJS.ProcessEnv): Promise<string | undefined> {
  const home = environment['HOME'] ?? homedir();
  const text = await readFile(resolve(path.replace(/^~(?=[/\\])/, home)), 'utf8').catch(() => undefined);
  return text !== undefined && text.length <= MAX_FILE_BYTES ? text : undefined;
}

/** Files of npm: `key = value`, `key[] = value`, comments after `;` or `#`, values in quotes. Sections are not used by npm; what stands in one is left out. */
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
  // A backslash keeps the next `;`, `#` or backslash from being special.
  return text
    .replace(/^((?:\\[\s\S]|[^\\;#])*)[;#][\s\S]*$/, '$1')
    .replace(/\\([;#\\])/g, '$1')
    .trim();
}

/** `${NAME}`, and `${NAME?}`, which is empty where there is no such variable; a backslash before it keeps it as it is. */
function expand(text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(/(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}/g, (whole, escapes: string, name: string, optional?: string) => {
    if (escapes.length % 2 === 1) return whole.slice((escapes.length + 1) / 2);
    return `${escapes.slice(escapes.length / 2)}${environment[name] ?? (optional === undefined ? `\${${name}}` : '')}`;
  });
}

/** The one file of settings that npm gets. `caFile`: where `ca` lies for it. */
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
 * The `host:port` that npm must reach. They may be anywhere: the owner has named them, and the name of the public registry leads to where the owner's
 * network says. With a proxy of the owner, the proxy is all that can be held.
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

/** The registry of an npm whose settings name none, as that npm says itself. Asked once a process: it takes npm a quarter of a second. */
function defaultRegistry(npmFolder: string): Promise<string> {
  let answer = asked.get(npmFolder);
  if (answer === undefined) {
    answer = ask(npmFolder);
    asked.set(npmFolder, answer);
    answer.catch(() => asked.delete(npmFolder));
  }
  return answer;
}

function ask(npmFolder: string): Promise<string> {
  // No settings at all: neither variables nor files, and two names, since npm does not read one file twice.
  const none = ['user', 'global'].map((kind) => `--${kind}config=${join(npmFolder, `no-${kind}-settings`)}`);
  const args = [join(npmFolder, 'bin', 'npm-cli.js'), 'config', 'get', 'registry', ...none];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: npmFolder, env: {}, timeout: ASK_MS, windowsHide: true }, (error, stdout) => {
      const registry = stdout.trim();
      if (error === null && URL.canParse(registry)) resolve(registry);
      else reject(error ?? new Error('npm names no registry'));
    });
  });
}
