import type { Command } from 'commander';
import type { CommandEntry, CommandName } from '../config/command.js';
import type { CoreOptions } from '../config/core.js';
import type { OptionsOf, OptionTable } from '../config/option.js';
import type { ErrorEntry } from '../errors.js';
import type { Check, CheckContext } from '../job/health.js';
import type { ServerSetup } from '../master/server-setup.js';
import type { RunnerSetup } from '../runners/setup.js';
import type { SourceSetup } from '../sources/setup.js';

/** Options as the command line parsed them: those of the core and the wire's own. */
export type WireOptions<T extends OptionTable> = CoreOptions & OptionsOf<T>;

/**
 * Everything the command line needs to know about one foreign system. Exported by `wire.ts` of the wire's folder and listed in
 * `src/cli/wires.ts`.
 */
export interface Wire<T extends OptionTable = OptionTable> {
  /** Name of the wire's folder, and of its page in docs/sources/. */
  readonly name: string;
  /** Which jobs the wire brings, for the list in docs/sources/README.md. */
  readonly summary: string;
  /** The wire's options; their names and flags begin with the wire's name. */
  readonly options: T;
  /** Result of `declareErrors`. */
  readonly errors: { readonly table: Readonly<Record<string, ErrorEntry>> };
  /** Whether the wire is useless without a container engine. */
  readonly needsContainers?: boolean;
  /** The wire's own minimum for the concurrency limit, used if it is the only source and `--concurrency` is absent. */
  places?(options: WireOptions<T>): number;
  /** Whether the options switch the source on. */
  configured(options: WireOptions<T>): boolean;
  /** Loads the code of the source lazily. Throws `option-invalid` if another required option is missing. */
  setup(options: WireOptions<T>): Promise<SourceSetup>;
  /** Runner for the wire's jobs, if no other runner can run them. */
  readonly runner?: WireRunner<T>;
  /** The wire's server on the Master, from the options of `peerwork master`; undefined if it has none. Loads its code lazily. */
  server?(options: WireOptions<T>): Promise<ServerSetup | undefined>;
  /** Questions of `peerwork configure` for this source, in this order; the first should be the one that switches it on. */
  readonly questions?: readonly (keyof T & string)[];
  /** Rejects if a person has to act before a start, such as by logging in: `configure`, `start` and `start-bg` then exit with 3. */
  ready?(options: WireOptions<T>): Promise<void>;
  /** Commands that the wire adds to peerwork's own. */
  readonly commands?: Readonly<Record<string, WireCommand<T>>>;
  readonly program?: WireProgram<T>;
  /**
   * Check that `peerwork health` runs if the source is configured; `src/wires/health/` has checks of Redis, HTTP and TCP. Never rejects.
   */
  check?(options: WireOptions<T>, context: CheckContext): Promise<readonly Check[]>;
}

/** A runner as the command line sees it. */
export interface WireRunner<T extends OptionTable = OptionTable> {
  readonly kind: string;
  /** Whether the options request the runner; if the runner has no such options, whether to try it. */
  wanted(options: WireOptions<T>): boolean;
  /** Loads the code of the runner lazily. */
  setup(options: WireOptions<T>): Promise<RunnerSetup>;
  /** Questions of `peerwork configure` for this runner, in this order. */
  readonly questions?: readonly (keyof T & string)[];
  /** Check that `peerwork health` runs if the runner is requested, such as of the container engine. Never rejects. */
  check?(options: WireOptions<T>, context: CheckContext): Promise<readonly Check[]>;
}

/** A command of a wire as the command line lists it; its code is loaded only when it runs. */
export interface WireCommand<T extends OptionTable = OptionTable> extends Omit<CommandEntry, 'load'> {
  load(): Promise<WireAction<T>>;
}

/**
 * Code of a command; resolves with the exit code. Declared as a method so that its parameters are bivariant and the list of wires may widen
 * them.
 */
export type WireAction<T extends OptionTable> = { act(command: Command, context: CommandContext<T>): Promise<number> }['act'];

/**
 * A command line under a name of its own, available as `peerwork NAME` and from a file in `bin/`. Its service has the same name by default.
 */
export interface WireProgram<T extends OptionTable = OptionTable> {
  readonly name: string;
  readonly description: string;
  /** Last lines of the help. */
  readonly example: string;
  /** Command that runs if none is given. */
  readonly defaultCommand: CommandName;
  /** Commands in the order of the help. Fields that a command omits are inherited from peerwork's command of the same name. */
  readonly commands: Readonly<Record<string, Partial<WireCommand<T>>>>;
  /** Names of the commands that fail with whatever `admit` throws. */
  readonly guarded: readonly string[];
  /** Throws if the caller may not use the guarded commands. */
  admit(options: WireOptions<T>): void;
}

/** Services that the command line provides to a command of a wire. */
export interface CommandContext<T extends OptionTable = OptionTable> {
  /** All options given to the command, validated as the command of this name accepts them. */
  options(name: CommandName): Promise<WireOptions<T>>;
  /** Runs until `run` ends or the first Ctrl-C, which aborts its signal; resolves with the exit code. */
  untilStopped(run: (signal: AbortSignal) => Promise<number>): Promise<number>;
  /** Asks on the terminal those questions of the wire that no flag has settled; undefined if the owner quits. */
  ask(): Promise<Answers | undefined>;
  /**
   * Writes the answers and the values of flags into `.env` once the wire's `ready` has accepted them. Resolves with the path of the file.
   */
  keep(answers: Answers): Promise<string>;
  /** Writes these variables into `.env` unchanged. */
  setVariables(variables: Readonly<Record<string, string>>): Promise<void>;
  /** Runs the checks of `peerwork health`. */
  check(): Promise<readonly Check[]>;
  describe(checks: readonly Check[]): string;
  /** Starts the service, like `start-bg`. */
  startBackground(): Promise<number>;
  /** How the owner types another command of this program. */
  commandLine(words: string): string;
}

/** What a person typed, keyed by option name. */
export type Answers = Readonly<Partial<Record<string, unknown>>>;
