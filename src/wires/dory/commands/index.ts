import type { WireCommand, WireProgram } from '../../wire.js';
import type { doryOptions } from '../options.js';
import { openAccess } from '../source/credentials.js';

type Options = typeof doryOptions;

/** Commands that peerwork has as well. */
export const loginCommands = {
  login: {
    summary: 'Get a key for this machine from a dory-api and keep it in ~/.dory/credentials.',
    load: async () => (await import('./login.js')).login,
  },
  logout: {
    summary: 'Remove the stored key of the dory-api.',
    load: async () => (await import('./login.js')).logout,
  },
  whoami: {
    summary: 'Print the user, the dory-api and the label of the key that this machine has.',
    load: async () => (await import('./login.js')).whoami,
  },
} as const satisfies Readonly<Record<string, WireCommand<Options>>>;

/** dory-worker under its own name. Its commands do what peerwork's do, except `setup`, and except for who may use them. */
export const doryWorker: WireProgram<Options> = {
  name: 'dory-worker',
  description: 'Takes the runs of a dory-api. Without a command it starts, as `start` does; `peerwork dory` is the same.',
  example: 'Once on a machine:   dory-worker login && dory-worker setup',
  defaultCommand: 'start',
  commands: {
    setup: {
      summary: 'Install docker if it is missing, write .env, get the image, check everything, and install and start the service.',
      optionsOf: 'start-bg',
      flags: [
        ['--yes', 'Install what is missing without asking.'],
        ['--no-install', 'Install no package: say which one is missing instead.'],
      ],
      load: async () => (await import('./setup.js')).setUpDory,
    },
    configure: {},
    start: {},
    'start-bg': {},
    ...loginCommands,
    health: {},
    status: {},
    logs: {},
    restart: {},
    stop: {},
    update: {},
    uninstall: {},
    image: { summary: 'Build the image of the crawler; `--tag dory-core:v2` gives it the name that runs use.' },
  },
  guarded: ['setup', 'configure', 'start', 'start-bg'],
  admit: ({ doryApi, doryKey }) => void openAccess({ apiBaseUrl: doryApi, apiKey: doryKey }),
};
