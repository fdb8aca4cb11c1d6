/**
 * The system calls that are refused to a sandboxed program, as a seccomp filter: a classic BPF program that the kernel runs before each
 * call.
 *
 * It refuses what Node does not need and where kernel bugs were found: tracing, other processes' memory, bpf, io_uring, keyrings, mounts,
 * namespaces, and all sockets except unix, TCP, UDP and the routing table. Calls that programs probe for and can do without fail with
 * ENOSYS, so that they use an older one instead; the rest fail with EPERM. clone3 is of the first kind: its flags are in memory, which no
 * filter can read, and glibc then falls back to clone, whose flags are in a register.
 */

import { randomBytes } from 'node:crypto';
import { openSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { byShell, type Limits } from './limits.js';

/** The descriptor on which bubblewrap finds the filter. A single digit, because that is all a shell has to support. */
export const FILTER_FD = 9;

let filterPath: string | undefined;

/** Numbers of each call: `_` if the architecture has no such call. */
type Row = readonly [name: string, x64: number, arm64: number, arm: number];
const _ = -1;

// From linux/unistd.h of 6.1 for each architecture (arm: EABI). x64 was run; arm64 and arm are only checked with a BPF interpreter.
const notPermitted: readonly Row[] = [
  ['ptrace', 101, 117, 26],
  ['process_vm_readv', 310, 270, 376],
  ['process_vm_writev', 311, 271, 377],
  ['kcmp', 312, 272, 378],
  ['move_pages', 279, 239, 344],
  ['migrate_pages', 256, 238, 400],
  ['bpf', 321, 280, 386],
  ['perf_event_open', 298, 241, 364],
  ['userfaultfd', 323, 282, 388],
  ['keyctl', 250, 219, 311],
  ['add_key', 248, 217, 309],
  ['request_key', 249, 218, 310],
  ['mount', 165, 40, 21],
  ['umount2', 166, 39, 52],
  ['pivot_root', 155, 41, 218],
  ['chroot', 161, 51, 61],
  ['unshare', 272, 97, 337],
  ['setns', 308, 268, 375],
  ['open_by_handle_at', 304, 265, 371],
  ['name_to_handle_at', 303, 264, 370],
  ['fanotify_init', 300, 262, 367],
  ['fanotify_mark', 301, 263, 368],
  ['lookup_dcookie', 212, 18, 249],
  ['quotactl', 179, 60, 131],
  ['quotactl_fd', 443, 443, 443],
  ['nfsservctl', 180, 42, 169],
  ['acct', 163, 89, 51],
  ['swapon', 167, 224, 87],
  ['swapoff', 168, 225, 115],
  ['kexec_load', 246, 104, 347],
  ['kexec_file_load', 320, 294, 401],
  ['init_module', 175, 105, 128],
  ['finit_module', 313, 273, 379],
  ['delete_module', 176, 106, 129],
  ['reboot', 169, 142, 88],
  ['syslog', 103, 116, 103],
  ['vhangup', 153, 58, 111],
  ['sethostname', 170, 161, 74],
  ['setdomainname', 171, 162, 121],
  ['settimeofday', 164, 170, 79],
  ['clock_settime', 227, 112, 262],
  ['clock_settime64', _, _, 404],
  ['clock_adjtime', 305, 266, 372],
  ['clock_adjtime64', _, _, 405],
  ['vmsplice', 278, 75, 343],
  ['personality', 135, 92, 136],
  ['sysfs', 139, _, 135],
  ['uselib', 134, _, 86],
  ['modify_ldt', 154, _, _],
  ['ioperm', 173, _, _],
  ['iopl', 172, _, _],
];

const notImplemented: readonly Row[] = [
  ['io_uring_setup', 425, 425, 425],
  ['io_uring_enter', 426, 426, 426],
  ['io_uring_register', 427, 427, 427],
  ['clone3', 435, 435, 435],
  ['open_tree', 428, 428, 428],
  ['move_mount', 429, 429, 429],
  ['fsopen', 430, 430, 430],
  ['fsconfig', 431, 431, 431],
  ['fsmount', 432, 432, 432],
  ['fspick', 433, 433, 433],
  ['mount_setattr', 442, 442, 442],
  ['statmount', 457, 457, 457],
  ['listmount', 458, 458, 458],
  ['open_tree_attr', 467, 467, 467],
  ['pidfd_getfd', 438, 438, 438],
  ['process_madvise', 440, 440, 440],
  ['memfd_secret', 447, 447, 447],
];

/** Calls that are filtered by their arguments. */
const clone: Row = ['clone', 56, 220, 120];
const ioctl: Row = ['ioctl', 16, 29, 54];
const socket: Row = ['socket', 41, 198, 281];
const socketpair: Row = ['socketpair', 53, 199, 288];

/** AUDIT_ARCH_… of linux/audit.h. `ceiling`: numbers from here on belong to another ABI of the same architecture (x32). */
const architectures = {
  x64: { column: 1, audit: 0xc000003e, ceiling: 0x40000000 },
  arm64: { column: 2, audit: 0xc00000b7, ceiling: undefined },
  arm: { column: 3, audit: 0x40000028, ceiling: undefined },
} as const;
export type FilteredArchitecture = keyof typeof architectures;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const CLONE_NAMESPACES = 0x7e020000;
/** TIOCSTI and TIOCLINUX inject input into a terminal; TIOCSETD loads line disciplines. */
const TERMINAL_REQUESTS = [0x5412, 0x541c, 0x5423] as const;
const AF_UNIX = 1;
const INTERNET_FAMILIES = [2, 10] as const;
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const SOCK_TYPE_MASK = 0xf;
/** SOCK_STREAM, SOCK_DGRAM. */
const SOCKET_TYPES = [1, 2] as const;
/** The default of the family, TCP, UDP. */
const PROTOCOLS = [0, 6, 17] as const;

const EPERM = 1;
const ENOSYS = 38;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;

/** Actions of the kernel: SECCOMP_RET_…, here combined with the errno. */
export const KILL = 0x80000000;
export const ALLOW = 0x7fff0000;
export const refuse = (errno: number) => 0x00050000 + errno;

/** Opcodes of linux/bpf_common.h: load a word; AND with a constant; jump if equal, at least, or any bit set; return. */
const LOAD = 0x20;
const AND = 0x54;
const EQUAL = 0x15;
const AT_LEAST = 0x35;
const ANY_BIT = 0x45;
const END = 0x06;
/** Offsets of the members of `struct seccomp_data`. All three architectures are little endian: the low word of an argument comes first. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const argument = (index: number) => 16 + 8 * index;

/** One `struct sock_filter`. */
type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number];
type Block = readonly Instruction[];

const load = (at: number): Instruction => [LOAD, 0, 0, at];
const end = (action: number): Instruction => [END, 0, 0, action];

/**
 * Runs `then` if the comparison with the loaded word holds, else continues after it. Jumps are computed, never counted by hand: one that
 * is off by one fails every call.
 */
function when(test: number, value: number, then: Block): Block {
  return [[test, 0, then.length, value], ...then];
}

/** Continues after this if the loaded word is one of `values`, else returns `action`. */
function unlessOneOf(values: readonly number[], action: number): Block {
  const tests = values.map((value, index): Instruction => [EQUAL, values.length - index, 0, value]);
  return [...tests, end(action)];
}

function socketRules(): Block {
  const internet = [
    load(argument(1)),
    [AND, 0, 0, SOCK_TYPE_MASK] as const,
    ...unlessOneOf(SOCKET_TYPES, refuse(EPERM)),
    load(argument(2)),
    ...unlessOneOf(PROTOCOLS, refuse(EPROTONOSUPPORT)),
    end(ALLOW),
  ];
  return [
    load(argument(0)),
    ...when(EQUAL, AF_UNIX, [end(ALLOW)]),
    ...INTERNET_FAMILIES.flatMap((family) => when(EQUAL, family, internet)),
    ...when(EQUAL, AF_NETLINK, [load(argument(2)), ...unlessOneOf([NETLINK_ROUTE], refuse(EPROTONOSUPPORT)), end(ALLOW)]),
    end(refuse(EAFNOSUPPORT)),
  ];
}

function program(name: FilteredArchitecture): Block {
  const { column, audit, ceiling } = architectures[name];
  const refusals = (rows: readonly Row[], errno: number) =>
    rows.filter((row) => row[column] !== _).flatMap((row) => when(EQUAL, row[column], [end(refuse(errno))]));
  const check = (row: Row, rules: Block) => when(EQUAL, row[column], rules);
  return [
    load(ARCHITECTURE),
    ...unlessOneOf([audit], KILL),
    load(NUMBER),
    ...(ceiling === undefined ? [] : when(AT_LEAST, ceiling, [end(KILL)])),
    ...refusals(notPermitted, EPERM),
    ...refusals(notImplemented, ENOSYS),
    ...check(clone, [load(argument(0)), ...when(ANY_BIT, CLONE_NAMESPACES, [end(refuse(EPERM))]), end(ALLOW)]),
    ...check(ioctl, [load(argument(1)), ...TERMINAL_REQUESTS.flatMap((request) => when(EQUAL, request, [end(refuse(EPERM))])), end(ALLOW)]),
    ...check(socket, socketRules()),
    ...check(socketpair, [load(argument(0)), ...unlessOneOf([AF_UNIX], refuse(EAFNOSUPPORT)), end(ALLOW)]),
    end(ALLOW),
  ];
}

/** Whether there is a filter for `architecture`, a value of `process.arch`. */
export function isFiltered(architecture: string): architecture is FilteredArchitecture {
  return Object.hasOwn(architectures, architecture);
}

/** Returns the filter in the format of the kernel and of bubblewrap's `--seccomp`: an array of `struct sock_filter`, little endian. */
export function seccompFilter(architecture: FilteredArchitecture): Buffer {
  const instructions = program(architecture);
  const bytes = Buffer.alloc(instructions.length * 8);
  for (const [index, [code, ifTrue, ifFalse, value]] of instructions.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(value, index * 8 + 4);
  }
  return bytes;
}

/** Returns the calls that the filter refuses whatever their arguments, for tests and documentation. */
export function refusedCalls(architecture: FilteredArchitecture): readonly { name: string; number: number; errno: number }[] {
  const { column } = architectures[architecture];
  const rows = (list: readonly Row[], errno: number) =>
    list.filter((row) => row[column] !== _).map((row) => ({ name: row[0], number: row[column], errno }));
  return [...rows(notPermitted, EPERM), ...rows(notImplemented, ENOSYS)];
}

/**
 * Returns the path of a file with the filter; undefined if there is none for this architecture. The file is unlinked and vanishes with
 * this process: nothing is left behind, and nobody can replace it.
 */
export function filterFile(architecture: string = process.arch): string | undefined {
  if (!isFiltered(architecture)) return undefined;
  filterPath ??= writeFilter(seccompFilter(architecture));
  return filterPath;
}

/**
 * Returns the words in front of a command that limit it and open the filter for it as `FILTER_FD`. Each command opens the file itself,
 * because the first reader of a shared descriptor would consume it.
 */
export function openFilter(file: string, limits: Limits): string[] {
  return ['/bin/sh', '-c', `${byShell(limits)}exec "$@" ${FILTER_FD}<"$0"`, file];
}

function writeFilter(bytes: Buffer): string {
  const path = join(tmpdir(), `peerwork-seccomp-${randomBytes(12).toString('hex')}`);
  const descriptor = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  writeSync(descriptor, bytes);
  return `/proc/${process.pid}/fd/${descriptor}`;
}
