import { commonOptions } from './common.js';
import { containerOptions } from './containers.js';
import { DEFAULT_CRAWL_CONTAINERS, DEFAULT_HTTP_HOST, DEFAULT_HTTP_PORT } from './defaults.js';
import { masterOptions } from './master.js';
import { type OptionsOf, option } from './option.js';
import { tunnelOptions } from './tunnel.js';
import { anyText, oneOf, single, wholeNumber } from './values.js';
import { workerOptions } from './worker.js';

/** Service managers that can keep a Worker running: see docs/service.md. */
export const keeperKinds = ['systemd-user', 'systemd-system', 'launchd', 'background'] as const;

/** Options of the commands for a Worker that is kept running. */
const serviceOptions = {
  serviceName: option<string, 'peerwork'>({
    flag: '--service-name <name>',
    env: 'PEERWORK_SERVICE_NAME',
    commands: ['health', 'start-bg', 'status', 'logs', 'restart', 'stop', 'update', 'uninstall'],
    meaning: 'Service name of this Worker. Each Worker on a machine needs its own.',
    allowed: '1 to 40 of a-z, 0-9 and -',
    default: 'peerwork',
    parse: single((text) => (/^[a-z0-9][a-z0-9-]{0,39}$/.test(text) ? text : undefined)),
  }),
  keeper: option<KeeperKind | 'auto', 'auto'>({
    flag: '--keeper <which>',
    env: 'PEERWORK_KEEPER',
    commands: ['start-bg'],
    meaning:
      'Service manager that keeps the Worker running: systemd or launchd if available, else peerwork’s own supervisor, which does not survive a reboot.',
    allowed: `one of auto, ${keeperKinds.join(', ')}`,
    default: 'auto',
    parse: oneOf(['auto', ...keeperKinds]),
  }),
} as const;

/** Options of crawls and their image. */
export const crawlOptions = {
  crawlContainers: option<number, undefined>({
    flag: '--crawl-containers <number>',
    env: 'PEERWORK_CRAWL_CONTAINERS',
    commands: ['worker'],
    meaning: 'Limit on containers that one crawl may start on this worker.',
    allowed: 'a whole number from 1 to 1000',
    unit: 'containers',
    default: undefined,
    defaultText: String(DEFAULT_CRAWL_CONTAINERS),
    parse: wholeNumber(1, 1_000),
  }),
  imageBase: option<string, 'auto'>({
    flag: '--base <image>',
    env: 'PEERWORK_IMAGE_BASE',
    commands: ['image'],
    meaning:
      'Base image: an image that has Node 20; `host` uses this machine’s Node; `auto` uses node:20-slim if present, else `host` if it runs in a container, else pulls node:20-slim.',
    allowed: 'auto, host, or an image name',
    default: 'auto',
    parse: anyText,
  }),
  imageTags: option<readonly string[], undefined>({
    flag: '--tag <name>',
    commands: ['image'],
    meaning: 'Additional name for the image.',
    allowed: 'image names',
    default: undefined,
    many: true,
    parse: (given) => given,
  }),
} as const;

/** Options of trackers. */
const trackerOptions = {
  trackerHost: option<string, '0.0.0.0'>({
    flag: '--host <address>',
    env: 'PEERWORK_TRACKER_HOST',
    commands: ['tracker'],
    meaning: 'Address the tracker listens on.',
    allowed: 'an address of this machine',
    default: '0.0.0.0',
    parse: anyText,
  }),
  trackerPort: option<number, 8000>({
    flag: '--port <number>',
    env: 'PEERWORK_TRACKER_PORT',
    commands: ['tracker'],
    meaning: 'Port the tracker listens on; 0 picks a free one.',
    allowed: 'a whole number from 0 to 65535',
    default: 8000,
    parse: wholeNumber(0, 65_535),
  }),
} as const;

/** Commands that send requests to a running Master. */
const commands = ['push', 'jobs', 'job', 'groups', 'workers', 'hold', 'schedule', 'results'] as const;

const DEFAULT_API = `http://${DEFAULT_HTTP_HOST}:${DEFAULT_HTTP_PORT}` as const;

const clientOptions = {
  api: option<string, typeof DEFAULT_API>({
    flag: '--api <url>',
    env: 'PEERWORK_API',
    commands,
    meaning: 'Address of the Master’s HTTP API.',
    allowed: 'an http:// or https:// URL',
    default: DEFAULT_API,
    parse: single((text) => (/^https?:\/\//.test(text) && URL.canParse(text) ? text.replace(/\/+$/, '') : undefined)),
  }),
  apiToken: option<string, undefined>({
    flag: '--api-token <text>',
    env: 'PEERWORK_HTTP_TOKEN',
    commands,
    meaning: 'API token, if the Master requires one. Prefer .env to the flag.',
    allowed: 'text',
    default: undefined,
    defaultText: 'none',
    secret: true,
    parse: anyText,
  }),
} as const;

const { token, ...ofWorkers } = workerOptions;
const { trackers, ice, ...common } = commonOptions;

/** All options except those of wires, in the order in which they are listed. */
export const coreOptions = {
  token,
  ...common,
  ...ofWorkers,
  ...containerOptions,
  trackers,
  ice,
  ...masterOptions,
  ...tunnelOptions,
  ...trackerOptions,
  ...clientOptions,
  ...serviceOptions,
  ...crawlOptions,
} as const;

export type CoreOptions = OptionsOf<typeof coreOptions>;

export type KeeperKind = (typeof keeperKinds)[number];
