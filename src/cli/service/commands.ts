import type { CommandEntry, CommandName } from '../option-table.js';

const json = ['--json', 'As JSON.'] as const;

/** The commands for a Worker that is set up once and then left alone for a year: docs/service.md. */
export const serviceCommands = {
  configure: {
    summary: 'Ask for the systems this Worker serves, or take them from flags, and write .env.',
    flags: [['--without <names>', 'Work no longer for these, with commas: master, or a source; their variables leave .env.']],
    load: async () => (await import('../configure.js')).configure,
  },
  health: {
    summary: 'Check everything this Worker is configured for, and say what to do about it; exit code 1 if something fails.',
    flags: [['--timeout <seconds>', 'How long all of it may take (default: 20).'], json],
    load: async () => (await import('../health/health.js')).health,
  },
  start: {
    summary: 'Work in the foreground until stopped; exits with code 3 if nothing is configured.',
    load: async () => (await import('./start.js')).start,
  },
  'start-bg': {
    summary:
      'Install this Worker as a service that is restarted when it ends, and start it; run it again after a change of the configuration.',
    load: async () => (await import('./start-bg.js')).startBackground,
  },
  status: {
    summary: 'Show whether the installed Worker runs, and what it does; exit code 0 if it runs.',
    flags: [json],
    load: async () => (await import('./status.js')).status,
  },
  logs: {
    summary: 'Print the last lines that the installed Worker wrote, or what the containers of a run have printed.',
    arguments: [['[run]', 'The id of a job or run that ran in containers here, or how it begins.']],
    flags: [
      ['--runs', 'List the runs whose output is kept.'],
      ['--lines <number>', 'How many (default: 100 of the Worker, all of a run).'],
      ['--follow', 'Also print new lines, until the run has ended or Ctrl-C is pressed.'],
      json,
    ],
    load: async () => (await import('./logs.js')).logs,
  },
  restart: {
    summary: 'Stop the installed Worker and start it again, with what .env says now.',
    flags: [['--now', 'What runs is given back instead of finished.']],
    load: async () => (await import('./stop.js')).restart,
  },
  stop: {
    summary: 'Let the installed Worker finish what runs and stop it, until `restart` or the next start of the machine.',
    flags: [['--now', 'What runs is given back instead of finished.']],
    load: async () => (await import('./stop.js')).stop,
  },
  update: {
    summary: 'Install the latest published version and restart the installed Worker.',
    flags: [['--check', 'Only say whether there is one.'], json],
    load: async () => (await import('./update.js')).update,
  },
  uninstall: {
    summary: 'Stop and remove the service; asks whether to delete the key, outbox and files of this Worker too.',
    flags: [
      ['--keep-data', 'Leave the home folder as it is.'],
      ['--yes', 'Delete what Workers keep in the home folder, without asking.'],
    ],
    load: async () => (await import('./uninstall.js')).uninstall,
  },
} as const satisfies Partial<Record<CommandName, CommandEntry>>;
