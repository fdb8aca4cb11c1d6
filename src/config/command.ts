import type { Command as ParsedCommand } from 'commander';

/** The commands of the core. Wires may add their own. */
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

/** Commands for a Worker that is set up once and kept running. */
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
  /** Takes the options declared for this command; default: those declared for its own name. */
  readonly optionsOf?: CommandName;
  readonly arguments?: readonly (readonly [name: string, meaning: string])[];
  /** Flags besides those of the option table. */
  readonly flags?: readonly (readonly [flag: string, meaning: string])[];
  /** Loads its code, which resolves with the exit code. */
  readonly load: () => Promise<(command: ParsedCommand) => Promise<number>>;
}
