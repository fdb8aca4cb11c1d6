import {
  DEFAULT_CONTAINER_DISK_MB,
  DEFAULT_CONTAINER_LOG_MB,
  DEFAULT_CONTAINER_PIDS,
  DEFAULT_ENGINE,
  DEFAULT_IMAGE_QUOTA_MB,
  DEFAULT_PULL,
  DEFAULT_PULL_TIMEOUT_MS,
} from './defaults.js';
import { option } from './option.js';
import { ALLOWED_NETWORK, every, networkWords, oneOf, single, wholeNumber, yesOrNo } from './values.js';

const engines = ['auto', 'docker', 'podman', 'off'] as const;
const pullPolicies = ['missing', 'always', 'never'] as const;
const commands = ['worker'] as const;

/** Options of Workers that run containers. */
export const containerOptions = {
  containers: option<(typeof engines)[number], typeof DEFAULT_ENGINE>({
    flag: '--containers <engine>',
    env: 'PEERWORK_CONTAINERS',
    commands: ['worker', 'image'],
    meaning:
      'Container engine, for running containers and building images: `auto` uses docker or podman if either is usable, a name requires that engine, `off` disables containers.',
    allowed: `one of ${engines.join(', ')}`,
    default: DEFAULT_ENGINE,
    parse: oneOf(engines),
  }),
  images: option<readonly string[], undefined>({
    flag: '--image <pattern>',
    env: 'PEERWORK_IMAGES',
    commands,
    meaning: 'Images that jobs may use, such as `node`, `node:20-slim` or `ghcr.io/acme/*`; a name without a tag allows all tags.',
    allowed: 'image names, where `*` matches any text',
    default: undefined,
    defaultText: 'all',
    many: true,
    parse: every((text) => /^[\w.:@/*-]+$/.test(text)),
  }),
  trustedImages: option<readonly string[], undefined>({
    flag: '--trusted-image <pattern>',
    env: 'PEERWORK_TRUSTED_IMAGES',
    commands,
    meaning:
      'Images that run with the engine’s own defaults: as their own user, including root, and with a writable layer. Limits still apply, your own network stays closed, and they cannot gain privileges.',
    allowed: 'image names as for --image, names with a digest (`name@sha256:…`), or ids (`sha256:…`)',
    default: undefined,
    defaultText: 'none',
    many: true,
    parse: every((text) => /^[\w.:@/*-]+$/.test(text)),
  }),
  pull: option<(typeof pullPolicies)[number], typeof DEFAULT_PULL>({
    flag: '--pull <when>',
    env: 'PEERWORK_PULL',
    commands,
    meaning: 'When a job’s image is pulled from its registry.',
    allowed: `one of ${pullPolicies.join(', ')}`,
    default: DEFAULT_PULL,
    parse: oneOf(pullPolicies),
  }),
  pullTimeoutMs: option<number, undefined>({
    flag: '--pull-timeout-ms <ms>',
    env: 'PEERWORK_PULL_TIMEOUT_MS',
    commands,
    meaning: 'Timeout for pulling one image.',
    allowed: 'a whole number from 1000 to 86400000',
    unit: 'milliseconds',
    default: undefined,
    defaultText: String(DEFAULT_PULL_TIMEOUT_MS),
    parse: wholeNumber(1_000, 86_400_000),
  }),
  imageQuotaMb: option<number, undefined>({
    flag: '--image-quota-mb <MiB>',
    env: 'PEERWORK_IMAGE_QUOTA_MB',
    commands,
    meaning: 'Disk quota for images pulled by this worker; the least recently used are removed first. Other images are never removed.',
    allowed: 'a whole number from 0 to 10485760',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_IMAGE_QUOTA_MB),
    parse: wholeNumber(0, 10_485_760),
  }),
  containerMemoryMb: option<number, undefined>({
    flag: '--container-memory-mb <MiB>',
    env: 'PEERWORK_CONTAINER_MEMORY_MB',
    commands,
    meaning: 'Memory limit of one container, also used when its job requests none. A job that requests more is refused.',
    allowed: 'a whole number from 16 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: 'three quarters of the machine’s memory, and PEERWORK_MEMORY_MB for jobs that request none',
    parse: wholeNumber(16, 1_048_576),
  }),
  containerCpus: option<number, undefined>({
    flag: '--container-cpus <cores>',
    env: 'PEERWORK_CONTAINER_CPUS',
    commands,
    meaning: 'CPU limit of one container, in cores; fractions such as 0.5 are allowed.',
    allowed: 'a number from 0.05 to 1024',
    unit: 'cores',
    default: undefined,
    defaultText: 'all',
    parse: single((text) => {
      const cores = /^\d{1,4}(?:\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
      return cores >= 0.05 && cores <= 1_024 ? cores : undefined;
    }),
  }),
  containerPids: option<number, undefined>({
    flag: '--container-pids <processes>',
    env: 'PEERWORK_CONTAINER_PIDS',
    commands,
    meaning: 'Limit on processes and threads in one container.',
    allowed: 'a whole number from 64 to 1048576',
    unit: 'processes',
    default: undefined,
    defaultText: String(DEFAULT_CONTAINER_PIDS),
    parse: wholeNumber(64, 1_048_576),
  }),
  containerDiskMb: option<number, undefined>({
    flag: '--container-disk-mb <MiB>',
    env: 'PEERWORK_CONTAINER_DISK_MB',
    commands,
    meaning:
      'How much one container may write to its output folder and, if its image is trusted, to its own layer; it cannot write anywhere else on disk.',
    allowed: 'a whole number from 1 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_CONTAINER_DISK_MB),
    parse: wholeNumber(1, 1_048_576),
  }),
  containerLogMb: option<number, undefined>({
    flag: '--container-log-mb <MiB>',
    env: 'PEERWORK_CONTAINER_LOG_MB',
    commands,
    meaning:
      'Disk quota for stored container output (`peerwork logs`), separately for container jobs and for crawls; the oldest is removed first. 0 stores nothing.',
    allowed: 'a whole number from 0 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: String(DEFAULT_CONTAINER_LOG_MB),
    parse: wholeNumber(0, 1_048_576),
  }),
  containerNetwork: option<readonly string[], undefined>({
    flag: '--container-network <what>',
    env: 'PEERWORK_CONTAINER_NETWORK',
    commands,
    meaning: 'Network that containers may reach, if different from other jobs: `none`, `internet` or hosts.',
    allowed: ALLOWED_NETWORK,
    default: undefined,
    defaultText: 'same as PEERWORK_TASK_NETWORK',
    many: true,
    parse: networkWords,
  }),
  containersUnfiltered: option<boolean, false>({
    flag: '--containers-unfiltered',
    env: 'PEERWORK_CONTAINERS_UNFILTERED',
    commands,
    meaning:
      'Allow containers whose traffic this machine cannot filter to use the whole network, including your own. Without it, such a job fails if it needs a network.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
} as const;
