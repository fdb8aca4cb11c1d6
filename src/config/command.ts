import type { Command as ParsedCommand } from 'commander';

/** The commands of the core. A wire may bring its own. */
export type Command =
  | 'setup'
  | 'worker'
  | 'master'
  | 'token'
  | 'tracker'
  | 'push'
  | 'jobs'
  | 'job'
  | 'groups'
  | 'workers'
  | 'hold'
  | 'schedule'
  | 'results'
  | 'ledger'
  | 'image'
  | ServiceCommand;

export type CommandName = Command | (string & {});

/** Commands of a Worker that is set up once and kept running. */
export type ServiceCommand =
  | 'configure'
  | 'health'
  | 'start'
  | 'start-bg'
  | 'status'
  | 'logs'
  | 'restart'
  | 'stop'
  | 'update'
  | 'uninstall';

/** A command as the command line lists it; its code is loaded when it runs. */
export interface CommandEntry {
  readonly summary: string;
  /** Of the option table it takes what this command takes; default: what is there under its own name. */
  readonly optionsOf?: CommandName;
  readonly arguments?: readonly (readonly [name: string, meaning: string])[];
  /** Besides those of the option table. */
  readonly flags?: readonly (readonly [flag: string, meaning: string])[];
  /** Its code; resolves with the exit code. */
  readonly load: () => Promise<(command: ParsedCommand) => Promise<number>>;
}
