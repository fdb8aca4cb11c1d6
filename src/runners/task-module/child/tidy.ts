/** What is restored between two jobs: the folder, and the process-wide state. */
import {
  apply,
  chdir,
  create,
  cwd,
  defineProperty,
  deleteProperty,
  file,
  getOwnPropertyDescriptor,
  getPrototypeOf,
  keysOf,
  ownKeys,
  push,
  setProperty,
  umask,
} from './primordials.js';

const { env: realEnv, eventNames, rawListeners, removeListener } = process;

/** Listing the variables after every job takes two microseconds, so a proxy records changes. Everything else goes to Node's own object. */
let envWasSet = false;
const env = new Proxy(realEnv, {
  set: (target, name, value) => noteEnv(setProperty(target, name, value)),
  deleteProperty: (target, name) => noteEnv(deleteProperty(target, name)),
  defineProperty: (target, name, descriptor) => noteEnv(defineProperty(target, name, descriptor)),
});
defineProperty(process, 'env', { value: env, writable: true, enumerable: true, configurable: true });

function noteEnv(done: boolean): boolean {
  envWasSet = true;
  return done;
}

/** Querying the mask after every job would take a system call. */
let umaskWasSet = false;
defineProperty(process, 'umask', {
  value: (mask?: string | number) => {
    if (mask === undefined) return umask();
    umaskWasSet = true;
    return umask(mask);
  },
  writable: true,
  configurable: true,
  enumerable: true,
});

/** Empties the job's folder and returns to it. Returns false if that fails: the next job would find what this one left. */
export function tidy(workdir: string): boolean {
  try {
    if (cwd() !== workdir) chdir(workdir);
    const names = file.readdirSync(workdir);
    if (names.length === 0) return true;
    for (let at = 0; at < names.length; at += 1) file.rmSync(`${workdir}/${names[at]}`, { recursive: true, force: true });
    // Names that are not UTF-8 are listed under other names, which do not exist.
    return file.readdirSync(workdir).length === 0;
  } catch {
    return false;
  }
}

/** The methods of a single object, with which a job could otherwise intercept what the next one reports. */
class Methods {
  readonly #target: object;
  readonly #before: Record<PropertyKey, PropertyDescriptor | undefined> = create(null);

  readonly #names: PropertyKey[] = [];
  readonly #all: boolean;
  /** Methods of its prototypes: an own method of the same name would hide them. */
  readonly #inherited: { readonly name: PropertyKey; readonly value: unknown }[] = [];

  /** `all`: includes its other properties. */
  constructor(target: object, all = false) {
    this.#target = target;
    this.#all = all;
    for (const name of ownKeys(target)) {
      const found = getOwnPropertyDescriptor(target, name);
      if (!all && !isMethod(found)) continue;
      this.#before[name] = found;
      push(this.#names, name);
    }
    for (let from = getPrototypeOf(target); from !== null && from !== Object.prototype; from = getPrototypeOf(from))
      for (const name of ownKeys(from)) {
        const value: unknown = getOwnPropertyDescriptor(from, name)?.value;
        // Only methods that are not hidden already.
        if (typeof value === 'function' && value === (target as Record<PropertyKey, unknown>)[name]) push(this.#inherited, { name, value });
      }
  }

  restore(): void {
    if (!this.#differs()) return;
    this.#compare(ownKeys(this.#target));
    this.#compare(this.#names);
  }

  /** The fast check for almost every job. Additions that hide nothing stay; listing them takes longer than everything else. */
  #differs(): boolean {
    for (let at = 0; at < this.#names.length; at += 1) {
      const name = this.#names[at] ?? '';
      const before = this.#before[name];
      if (before?.get === undefined && (this.#target as Record<PropertyKey, unknown>)[name] !== before?.value) return true;
    }
    for (let at = 0; at < this.#inherited.length; at += 1) {
      const method = this.#inherited[at];
      if (method !== undefined && (this.#target as Record<PropertyKey, unknown>)[method.name] !== method.value) return true;
    }
    return false;
  }

  #compare(names: readonly PropertyKey[]): void {
    for (let at = 0; at < names.length; at += 1) {
      const name = names[at] ?? '';
      const before = this.#before[name];
      if (before !== undefined || this.#all || isMethod(getOwnPropertyDescriptor(this.#target, name))) restore(this.#target, name, before);
    }
  }
}

function isMethod(found: PropertyDescriptor | undefined): boolean {
  return typeof found?.value === 'function' || found?.get !== undefined;
}

/** The state of the process after the task was loaded, which is restored after each job. */
export class ProcessState {
  readonly #env: Record<string, string | undefined> = create(null);
  readonly #envNames = keysOf(realEnv);
  readonly #console = globalThis.console;
  readonly #consoleMethods = new Methods(this.#console, true);
  readonly #outputs = [new Methods(process.stdout), new Methods(process.stderr)] as const;
  readonly #listeners: Record<PropertyKey, readonly unknown[] | undefined> = create(null);
  readonly #umask = umask();
  readonly #stackTraceLimit = getOwnPropertyDescriptor(Error, 'stackTraceLimit');
  readonly #prepareStackTrace = getOwnPropertyDescriptor(Error, 'prepareStackTrace');

  constructor() {
    for (const name of keysOf(realEnv)) this.#env[name] = realEnv[name];
    for (const name of apply(eventNames, process, [])) this.#listeners[name] = apply(rawListeners, process, [name]);
  }

  /** Returns false if it cannot be restored. `quick`: without the methods of stdout and stderr. */
  restore(quick = false): boolean {
    try {
      this.#restoreEnv();
      this.#restoreConsole();
      if (!quick) for (let at = 0; at < this.#outputs.length; at += 1) this.#outputs[at]?.restore();
      this.#restoreListeners();
      if (umaskWasSet) umask(this.#umask);
      umaskWasSet = false;
      process.exitCode = undefined;
      restore(Error, 'stackTraceLimit', this.#stackTraceLimit);
      restore(Error, 'prepareStackTrace', this.#prepareStackTrace);
      return true;
    } catch {
      return false;
    }
  }

  #restoreEnv(): void {
    if (process.env !== env) defineProperty(process, 'env', { value: env, writable: true, enumerable: true, configurable: true });
    if (!envWasSet) return;
    envWasSet = false;
    const names = keysOf(realEnv);
    for (let at = 0; at < names.length; at += 1) {
      const name = names[at] ?? '';
      if (this.#env[name] === undefined) delete realEnv[name];
    }
    for (let at = 0; at < this.#envNames.length; at += 1) {
      const name = this.#envNames[at] ?? '';
      if (realEnv[name] !== this.#env[name]) realEnv[name] = this.#env[name];
    }
  }

  #restoreConsole(): void {
    if (globalThis.console !== this.#console)
      defineProperty(globalThis, 'console', { value: this.#console, writable: true, enumerable: false, configurable: true });
    this.#consoleMethods.restore();
  }

  /** Removes listeners that the job has added. Those that it has removed concern only the task. */
  #restoreListeners(): void {
    const names = apply(eventNames, process, []) as (string | symbol)[];
    for (let at = 0; at < names.length; at += 1) {
      const name = names[at] ?? '';
      const before = this.#listeners[name] ?? [];
      const found = apply(rawListeners, process, [name]) as ((...args: unknown[]) => void)[];
      for (let each = 0; each < found.length; each += 1) {
        const listener = found[each];
        if (listener !== undefined && !has(before, listener)) apply(removeListener, process, [name, listener]);
      }
    }
  }
}

function restore(target: object, name: PropertyKey, before: PropertyDescriptor | undefined): void {
  if (before === undefined) {
    if (getOwnPropertyDescriptor(target, name) !== undefined) deleteProperty(target, name);
    return;
  }
  const found = getOwnPropertyDescriptor(target, name);
  if (found?.value !== before.value || found?.get !== before.get || found?.set !== before.set) defineProperty(target, name, before);
}

function has(list: readonly unknown[], item: unknown): boolean {
  for (let at = 0; at < list.length; at += 1) if (list[at] === item) return true;
  return false;
}
