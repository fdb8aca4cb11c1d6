import type { Command } from 'commander';
import type { CommandEntry, CommandName } from '../config/command.js';
import type { CoreOptions } from '../config/core.js';
import type { OptionsOf, OptionTable } from '../config/option.js';
import type { ErrorEntry } from '../errors.js';
import type { Check, CheckContext } from '../job/health.js';
import type { ServerSetup } from '../master/server-setup.js';
import type { RunnerSetup } from '../runners/setup.js';
import type { SourceSetup } from '../sources/setup.js';

/** The options that the command line has read: the core's, and the wire's own. */
export type WireOptions<T extends OptionTable> = CoreOptions & OptionsOf<T>;

/** Everything that the command line needs of one foreign system: the file `wire.ts` of its folder, and a line in `src/cli/wires.ts`. */
export interface Wire<T extends OptionTable = OptionTable> {
  /** Name of its folder, and of its page in docs/sources/. */
  readonly name: string;
  /** The jobs it brings, for the list in docs/sources/README.md. */
  readonly summary: string;
  /** Its options; their names and flags begin with its own name. */
  readonly options: T;
  /** The result of `declareErrors`. */
  readonly errors: { readonly table: Readonly<Record<string, ErrorEntry>> };
  /** It can do nothing without a container engine. */
  readonly needsContainers?: boolean;
  /** Its own limit of concurrency, at least: used if it is the only source and `--concurrency` is absent. */
  places?(options: WireOptions<T>): number;
  /** Whether the options switch its source on. */
  configured(options: WireOptions<T>): boolean;
  /** Loads the code of its source only when called. Throws `option-invalid` if another required option is missing. */
  setup(options: WireOptions<T>): Promise<SourceSetup>;
  /** A runner for its jobs, if no other one can run them. */
  readonly runner?: WireRunner<T>;
  /** The Master's side, from the options of `peerwork master`; undefined: none. Loads its code only when called. */
  server?(options: WireOptions<T>): Promise<ServerSetup | undefined>;
  /** The questions of `peerwork configure` for this source, in this order; the first should be the one that switches it on. */
  readonly questions?: readonly (keyof T & string)[];
  /** Rejects if a person has to act before a start, such as logging in: `configure`, `start` and `start-bg` then end with 3. */
  ready?(options: WireOptions<T>): Promise<void>;
  /** Commands that it adds to those of peerwork. */
  readonly commands?: Readonly<Record<string, WireCommand<T>>>;
  readonly program?: WireProgram<T>;
  /** The check of `peerwork health` if the source is configured; `src/wires/health/` has checks of Redis, HTTP and TCP. Never rejects. */
  check?(options: WireOptions<T>, context: CheckContext): Promise<readonly Check[]>;
}

/** A way to run jobs as the command line sees it. */
export interface WireRunner<T extends OptionTable = OptionTable> {
  readonly kind: string;
  /** Whether the options request it; without such options, whether to try it. */
  wanted(options: WireOptions<T>): boolean;
  /** Loads its code only when called. */
  setup(options: WireOptions<T>): Promise<RunnerSetup>;
  /** The questions of `peerwork configure`, in this order. */
  readonly questions?: readonly (keyof T & string)[];
  /** The check of `peerwork health` if it is requested, such as of the container engine. Never rejects. */
  check?(options: WireOptions<T>, context: CheckContext): Promise<readonly Check[]>;
}

/** A command of a wire, as the command line lists it; its code is loaded when it runs. */
export interface WireCommand<T extends OptionTable = OptionTable> extends Omit<CommandEntry, 'load'> {
  load(): Promise<WireAction<T>>;
}

/** The code of a command; resolves with the exit code. As a method, whose parameters the one list of wires may widen. */
export type WireAction<T extends OptionTable> = { act(command: Command, context: CommandContext<T>): Promise<number> }['act'];

/** A command line of a name of its own, behind `peerwork NAME` and in a file of `bin/`. Its service has its name, too, unless the owner says otherwise. */
export interface WireProgram<T extends OptionTable = OptionTable> {
  readonly name: string;
  readonly description: string;
  /** The last lines of its help. */
  readonly example: string;
  /** What runs where no command is given. */
  readonly defaultCommand: CommandName;
  /** In the order of its help. What a command of peerwork's name leaves out it has of that one. */
  readonly commands: Readonly<Record<string, Partial<WireCommand<T>>>>;
  /** Of these, those that end with what `admit` throws. */
  readonly guarded: readonly string[];
  /** Throws unless who calls may use the guarded commands. */
  admit(options: WireOptions<T>): void;
}

/** What the command line lends to a command of a wire. */
export interface CommandContext<T extends OptionTable = OptionTable> {
  /** Everything that was given to the command, checked; as the command of this name takes it. */
  options(name: CommandName): Promise<WireOptions<T>>;
  /** Runs until its end or the first Ctrl-C, which aborts it; resolves with the exit code. */
  untilStopped(run: (signal: AbortSignal) => Promise<number>): Promise<number>;
  /** Asks the questions of the wire that no flag answers, on a terminal; undefined: the owner left. */
  ask(): Promise<Answers | undefined>;
  /** Writes the answers and what flags gave into `.env`, after the wire's `ready` has taken them. Resolves with the file. */
  keep(answers: Answers): Promise<string>;
  /** Writes these variables into `.env` as they are. */
  setVariables(variables: Readonly<Record<string, string>>): Promise<void>;
  /** What `health` finds. */
  check(): Promise<readonly Check[]>;
  describe(checks: readonly Check[]): string;
  /** As `start-bg` does. */
  startBackground(): Promise<number>;
  /** How the owner types another command of this program. */
  commandLine(words: string): string;
}

/** What a person typed, by the names of options. */
export type Answers = Readonly<Partial<Record<string, unknown>>>;
