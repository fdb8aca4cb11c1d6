import t from 'tap';
import { ALLOW, type FilteredArchitecture, isFiltered, KILL, refuse, refusedCalls, seccompFilter } from '../../src/sandbox/seccomp.js';

/** Interprets the filter as the kernel does, for the instructions that it uses: classic BPF over `struct seccomp_data`. */
function evaluate(filter: Buffer, audit: number, number: number, args: readonly number[] = []): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number, 0);
  data.writeUInt32LE(audit, 4);
  for (const [index, value] of args.entries()) data.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 16 + index * 8);
  let word = 0;
  for (let at = 0; at * 8 < filter.length; ) {
    const code = filter.readUInt16LE(at * 8);
    const [ifTrue, ifFalse] = [filter.readUInt8(at * 8 + 2), filter.readUInt8(at * 8 + 3)];
    const value = filter.readUInt32LE(at * 8 + 4);
    at += 1;
    const jump = (holds: boolean) => {
      at += holds ? ifTrue : ifFalse;
    };
    if (code === 0x20) word = data.readUInt32LE(value);
    else if (code === 0x54) word = (word & value) >>> 0;
    else if (code === 0x15) jump(word === value);
    else if (code === 0x35) jump(word >= value);
    else if (code === 0x45) jump((word & value) !== 0);
    else if (code === 0x06) return value;
    else throw new Error(`instruction ${at - 1} is none that the filter should have: ${code.toString(16)}`);
  }
  throw new Error('it runs past its end');
}

/** Taken from the kernel's headers again, independently of the tested table. */
const machines: Record<
  FilteredArchitecture,
  { audit: number; clone: number; ioctl: number; socket: number; socketpair: number; harmless: number[] }
> = {
  // read, mmap, futex, execve, openat, prctl, seccomp
  x64: { audit: 0xc000003e, clone: 56, ioctl: 16, socket: 41, socketpair: 53, harmless: [0, 9, 202, 59, 257, 157, 317] },
  arm64: { audit: 0xc00000b7, clone: 220, ioctl: 29, socket: 198, socketpair: 199, harmless: [63, 222, 98, 221, 56, 167, 277] },
  // The same, and cacheflush, which V8 needs to generate code.
  arm: { audit: 0x40000028, clone: 120, ioctl: 54, socket: 281, socketpair: 288, harmless: [3, 192, 240, 11, 322, 172, 383, 0xf0002] },
};
const I386 = 0x40000003;
const [EPERM, EPROTONOSUPPORT, EAFNOSUPPORT] = [1, 93, 97].map(refuse);
const SOCK_CLOEXEC = 0o2000000;

for (const [name, machine] of Object.entries(machines)) {
  t.test(`the filter of ${name} refuses what Node does not need, and nothing else`, async (t) => {
    if (!isFiltered(name)) return t.fail('it has no filter');
    const filter = seccompFilter(name);
    const of = (number: number, ...args: number[]) => evaluate(filter, machine.audit, number, args);

    for (const call of refusedCalls(name)) t.equal(of(call.number), refuse(call.errno), call.name);
    t.equal(of(435), refuse(38), 'clone3, in whose place glibc then calls clone');
    for (const number of machine.harmless) t.equal(of(number), ALLOW, `call ${number}`);
    for (const { audit } of [...Object.values(machines), { audit: I386 }])
      t.equal(evaluate(filter, audit, 0), audit === machine.audit ? ALLOW : KILL, `architecture ${audit.toString(16)}`);

    t.equal(of(machine.clone, 0x3d0f00), ALLOW, 'a thread, as glibc makes it');
    t.equal(of(machine.clone, 0x1200011), ALLOW, 'a process, as fork makes it');
    for (const flag of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000])
      t.equal(of(machine.clone, 17 | flag), EPERM, `clone with ${flag.toString(16)}`);

    t.equal(of(machine.ioctl, 1, 0x5401), ALLOW, 'isatty');
    for (const request of [0x5412, 0x541c, 0x5423]) t.equal(of(machine.ioctl, 0, request), EPERM, `ioctl ${request.toString(16)}`);
    t.equal(of(machine.ioctl, 0, 2 ** 32 + 0x5412), EPERM, 'the kernel reads 32 bits of it, and so does the filter');

    for (const family of [2, 10]) {
      for (const type of [1, 2, 1 | SOCK_CLOEXEC, 2 | SOCK_CLOEXEC])
        for (const protocol of [0, 6, 17]) t.equal(of(machine.socket, family, type, protocol), ALLOW);
      t.equal(of(machine.socket, family, 3, 0), EPERM, 'raw');
      t.equal(of(machine.socket, family, 3 | SOCK_CLOEXEC, 1), EPERM, 'raw');
      t.equal(of(machine.socket, family, 10, 0), EPERM, 'packet in its old form');
      t.equal(of(machine.socket, family, 1, 132), EPROTONOSUPPORT, 'SCTP');
    }
    t.equal(of(machine.socket, 1, 1, 0), ALLOW, 'unix');
    t.equal(of(machine.socket, 16, 3 | SOCK_CLOEXEC, 0), ALLOW, 'the routing table, as getifaddrs asks for it');
    for (const protocol of [4, 6, 9, 12, 16]) t.equal(of(machine.socket, 16, 3, protocol), EPROTONOSUPPORT, `netlink ${protocol}`);
    for (const family of [0, 3, 17, 29, 31, 38, 40, 44, 45]) t.equal(of(machine.socket, family, 3, 0), EAFNOSUPPORT, `family ${family}`);
    t.equal(of(machine.socketpair, 1, 1, 0), ALLOW);
    t.equal(of(machine.socketpair, 30, 1, 0), EAFNOSUPPORT, 'a pair of TIPC sockets');
    if (name === 'x64') t.equal(of(0x40000000 + 39), KILL, 'x32');
    t.equal(of(2_000), ALLOW, 'what is not known is the kernel’s to refuse');
  });
}

t.test('there is no filter where its numbers are not known', async (t) => {
  for (const architecture of ['ia32', 'riscv64', 'ppc64', 'toString']) t.notOk(isFiltered(architecture));
});
