import { option } from './option.js';
import { ALLOWED_NETWORK, every, networkWords, oneOf, single, wholeNumber, yesOrNo } from './values.js';

const engines = ['auto', 'docker', 'podman', 'off'] as const;
const pullPolicies = ['missing', 'always', 'never'] as const;
const commands = ['worker'] as const;

/** Options of Workers that run containers. */
export const containerOptions = {
  containers: option<(typeof engines)[number], 'auto'>({
    flag: '--containers <engine>',
    env: 'PEERWORK_CONTAINERS',
    commands,
    meaning:
      'Whether this worker runs containers, and by what: `auto` takes docker or podman if one can be used; one of them by name is demanded; `off` runs none.',
    allowed: `one of ${engines.join(', ')}`,
    default: 'auto',
    parse: oneOf(engines),
  }),
  images: option<readonly string[], undefined>({
    flag: '--image <pattern>',
    env: 'PEERWORK_IMAGES',
    commands,
    meaning: 'Images that jobs may use, such as `node`, `node:20-slim` or `ghcr.io/acme/*`; without a tag, all tags.',
    allowed: 'names of images, in which `*` stands for any text',
    default: undefined,
    defaultText: 'all',
    many: true,
    parse: every((text) => /^[\w.:@/*-]+$/.test(text)),
  }),
  pull: option<(typeof pullPolicies)[number], 'missing'>({
    flag: '--pull <when>',
    env: 'PEERWORK_PULL',
    commands,
    meaning: 'When the image of a job is pulled from its registry.',
    allowed: `one of ${pullPolicies.join(', ')}`,
    default: 'missing',
    parse: oneOf(pullPolicies),
  }),
  pullTimeoutMs: option<number, undefined>({
    flag: '--pull-timeout-ms <ms>',
    env: 'PEERWORK_PULL_TIMEOUT_MS',
    commands,
    meaning: 'How long the pull of one image may take.',
    allowed: 'a whole number from 1000 to 86400000',
    unit: 'milliseconds',
    default: undefined,
    defaultText: '600000',
    parse: wholeNumber(1_000, 86_400_000),
  }),
  imageQuotaMb: option<number, undefined>({
    flag: '--image-quota-mb <MiB>',
    env: 'PEERWORK_IMAGE_QUOTA_MB',
    commands,
    meaning:
      'How much disk the images that this worker has pulled may take; what was not used for longest goes first. Others are never removed.',
    allowed: 'a whole number from 0 to 10485760',
    unit: 'MiB',
    default: undefined,
    defaultText: '10240',
    parse: wholeNumber(0, 10_485_760),
  }),
  containerMemoryMb: option<number, undefined>({
    flag: '--container-memory-mb <MiB>',
    env: 'PEERWORK_CONTAINER_MEMORY_MB',
    commands,
    meaning: 'How much memory one container may have.',
    allowed: 'a whole number from 16 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: 'as PEERWORK_MEMORY_MB',
    parse: wholeNumber(16, 1_048_576),
  }),
  containerCpus: option<number, undefined>({
    flag: '--container-cpus <cores>',
    env: 'PEERWORK_CONTAINER_CPUS',
    commands,
    meaning: 'How many processor cores one container may use; also a part of one, such as 0.5.',
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
    meaning: 'How many processes and threads one container may have.',
    allowed: 'a whole number from 64 to 1048576',
    unit: 'processes',
    default: undefined,
    defaultText: '512',
    parse: wholeNumber(64, 1_048_576),
  }),
  containerDiskMb: option<number, undefined>({
    flag: '--container-disk-mb <MiB>',
    env: 'PEERWORK_CONTAINER_DISK_MB',
    commands,
    meaning: 'How much one container may write into its output folder, the only place on disk that it can write to.',
    allowed: 'a whole number from 1 to 1048576',
    unit: 'MiB',
    default: undefined,
    defaultText: '1024',
    parse: wholeNumber(1, 1_048_576),
  }),
  containerNetwork: option<readonly string[], undefined>({
    flag: '--container-network <what>',
    env: 'PEERWORK_CONTAINER_NETWORK',
    commands,
    meaning: 'What containers may reach at most, where that is not what other jobs may: `none`, `internet` or hosts.',
    allowed: ALLOWED_NETWORK,
    default: undefined,
    defaultText: 'as PEERWORK_TASK_NETWORK',
    many: true,
    parse: networkWords,
  }),
  containersUnfiltered: option<boolean, false>({
    flag: '--containers-unfiltered',
    env: 'PEERWORK_CONTAINERS_UNFILTERED',
    commands,
    meaning:
      'Whether containers that this machine cannot filter may use the whole network, your own included. Otherwise a job that needs a network fails there.',
    allowed: 'yes or no',
    default: false,
    defaultText: 'no',
    parse: yesOrNo,
  }),
} as const;
