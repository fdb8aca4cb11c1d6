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
  | 'login'
  | 'logout'
  | 'whoami'
  | ServiceCommand;

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

export interface OptionSpec<T, D extends T | undefined = T | undefined> {
  /** As commander reads it, such as `--name <text>`. A flag without an argument is yes, with `--no-` before it no. */
  readonly flag: string;
  /** Absent: a flag only. queue-xec's variables keep their names. */
  readonly env?: string;
  readonly commands: readonly Command[];
  readonly meaning: string;
  /** What may be written, in words; completes "must be …". */
  readonly allowed: string;
  readonly unit?: string;
  readonly default: D;
  /** What the default is, where it is not a plain value. */
  readonly defaultText?: string;
  /** Never shown, neither in errors nor in logs. */
  readonly secret?: boolean;
  /** What is shown of a value in an error, where a part of it is secret. */
  readonly show?: (text: string) => string;
  /** The flag may be given several times; in a variable the values are separated by blanks or commas. */
  readonly many?: boolean;
  /** undefined: not allowed. */
  readonly parse: (given: readonly string[]) => T | undefined;
}

export function option<T, const D extends T | undefined>(spec: OptionSpec<T, D>): OptionSpec<T, D> {
  return spec;
}
