import type { Command } from 'commander';
import { fieldSpec, jobFieldNames } from '../../job/job-fields.js';
import type { CommandEntry, CommandName } from '../option-table.js';

/** Flags of the job fields that the field table gives one. */
const jobFlags = jobFieldNames.flatMap((field) => {
  const { flag } = fieldSpec(field);
  return flag === undefined ? [] : [flag];
});
const json = ['--json', 'One JSON object a line.'] as const;
const rows = () => import('./rows.js');

/** Commands that send requests to a running Master. */
export const clientCommands = {
  push: {
    summary: 'Push jobs to a running Master: a file, stdin, or one by --data.',
    arguments: [['[file]', 'Jobs, one JSON object a line; - reads stdin; a .json file holds one or a list.']],
    flags: [
      ['--data <json>', 'One job with this data.'],
      ...jobFlags,
      ['--file <name=path...>', 'A file for the job of --data; may be given several times.'],
      json,
    ],
    load: async () => (await import('./push.js')).push,
  },
  jobs: {
    summary: 'List jobs, the newest first; or retry those that failed.',
    flags: [
      ['--state <state>', 'blocked, ready, leased, completed, failed or cancelled.'],
      ['--channel <name>', 'Of this channel.'],
      ['--group <id>', 'Of this group.'],
      ['--workgroup <id>', 'Of this workgroup.'],
      ['--limit <number>', 'How many (default: 50; with --retry all).'],
      ['--retry', 'With --state failed or cancelled: they wait again, with all their attempts.'],
      json,
    ],
    load: async () => (await import('./jobs.js')).jobs,
  },
  job: {
    summary: 'Show one job, follow its log, or cancel, retry, reset or delete it.',
    arguments: [['<id>', 'The job, or the beginning of its id.']],
    flags: [
      ['--files <folder>', 'Write the files that it made into this folder.'],
      ['--follow', 'Print log and progress until it has ended; exit code 1 unless it completed.'],
      ['--cancel', 'End it, also while it runs.'],
      ['--retry', 'It waits again, with all its attempts.'],
      ['--reset', 'It starts over.'],
      ['--delete', 'Forget it, and all that descends from it.'],
      json,
    ],
    load: async () => (await import('./jobs.js')).job,
  },
  groups: {
    summary: 'List groups; or show, pause, resume, retry, reset, cancel or delete one.',
    arguments: [
      ['[verb]', 'show, pause, resume, retry, reset, cancel or delete.'],
      ['[id]', 'The group.'],
    ],
    flags: [json],
    load: async () => (await rows()).groups,
  },
  workers: {
    summary: 'List workers; or approve, revoke, drain or resume one.',
    arguments: [
      ['[verb]', 'approve, revoke, drain or resume.'],
      ['[worker]', 'Its name or id, or the beginning of one.'],
    ],
    flags: [json],
    load: async () => (await rows()).workers,
  },
  hold: {
    summary: 'Hold a workgroup for a time, release it, or limit it; without one, list them.',
    arguments: [
      ['[workgroup]', 'Its id.'],
      ['[time]', 'For how long: seconds, or 90s, 15m, 12h.'],
    ],
    flags: [['--release', 'End the hold.'], ['--max-running <number>', 'How many of its jobs may run at once; none for no limit.'], json],
    load: async () => (await rows()).hold,
  },
  schedule: {
    summary: 'List schedules; or put, show, pause, resume or delete one.',
    arguments: [
      ['[verb]', 'put, show, pause, resume or delete.'],
      ['[id]', 'The schedule.'],
    ],
    flags: [
      ['--cron <expression>', 'Five fields, or six with seconds first.'],
      ['--time-zone <name>', 'Such as Europe/Berlin (default: UTC).'],
      ['--missed <how>', 'skip, once or all (default: once).'],
      ['--job <json>', 'The job, without id.'],
      json,
    ],
    load: async () => (await rows()).schedule,
  },
  results: {
    summary: 'Print outcomes as they were recorded, one JSON object a line.',
    flags: [
      ['--after <cursor>', 'Start after this cursor (default: with the first outcome).'],
      ['--follow', 'Also print new outcomes as they are recorded.'],
      ['--json', 'As always: there is no other form.'],
    ],
    load: async () => (await rows()).results,
  },
} as const satisfies Partial<Record<CommandName, CommandEntry>>;

/** Adds arguments and flags that the option table does not declare. */
export function addOwnFlags(command: Command, { arguments: names = [], flags = [] }: CommandEntry): void {
  for (const [name, meaning] of names) command.argument(name, meaning);
  for (const [flag, meaning] of flags) command.option(flag, meaning);
}
