import type { Aim, Attack, OwnersFile } from './attack.js';

const reading = (name: string, body: string, more: Partial<Attack> = {}): Attack => ({
  ...{ name, group: 'reading files', body, evidence: 'secret', w: ({ canary }) => ({ path: canary.file, secret: canary.secret }) },
  ...more,
});
const owners = (name: string, file: OwnersFile, more: Partial<Attack> = {}) =>
  reading(name, 'reads a file', { w: ({ owner }) => ({ path: owner[file].path, secret: owner[file].secret }), ...more });

const readingFiles: readonly Attack[] = [
  owners('.env of the Worker', 'dotenv'),
  owners('the key of the Worker', 'key'),
  owners('the outbox', 'outbox'),
  owners('/proc/…/environ of the Worker', 'environment'),
  owners('~/.npmrc', 'npmrc'),
  owners('~/.ssh', 'ssh'),
  owners('files of another task', 'task'),
  owners('dependencies of another task', 'layer'),
  reading('/etc/passwd', 'reads a file', { w: () => ({ path: '/etc/passwd' }), expected: { container: 'n/a' } }),
  reading('by a promise', 'reads a file by a promise'),
  reading('by the bytes of its path', 'reads a file as bytes of a path'),
  reading('by a URL', 'reads a file by a URL'),
  reading('upwards', 'reads a file upwards'),
  reading('upwards, not normalised', 'reads a file upwards, unnormalised'),
  reading('by a symbolic link', 'reads a file by a link'),
  reading('by a relative link', 'reads a file by a relative link'),
  reading('by a linked folder', 'reads a file by a linked folder'),
  reading('by a hard link', 'reads a file by a hard link'),
  reading('by a copy', 'copies a file'),
  reading('by a copy of its folder', 'copies a folder'),
  reading('by a rename', 'renames a file into its folder'),
  reading('by swapping a file for a link', 'reads a file that is swapped for a link'),
  reading('as JSON, by require', 'reads a file as JSON', { w: ({ canary }) => ({ json: canary.json }) }),
  reading('as an ES module', 'reads a file as an ES module', { w: ({ canary }) => ({ module: canary.module }) }),
  reading('as a blob', 'reads a file as a blob'),
  reading('as a stream', 'reads a file as a stream'),
  reading('as variables', 'reads a file as variables', { w: ({ canary }) => ({ path: canary.variables }) }),
  reading('by process.binding', 'reads a file by process.binding'),
  reading('with a Buffer that lies about itself', 'reads a file by a patched Buffer', { control: false }),
  reading('with a patched path.resolve', 'reads a file by a patched path.resolve'),
  reading('by /proc/…/root of the Worker', 'reads by the root of the Worker', {
    w: ({ canary, worker }) => ({ path: canary.file, worker }),
  }),
  reading('memory of the Worker by /proc/…/mem', "reads the Worker's memory", { evidence: 'done', w: ({ worker }) => ({ worker }) }),
  reading('what the Worker has open, by /proc/…/fd', 'reads what the Worker has open', {
    control: false,
    w: ({ worker, owner }) => ({ worker, secret: owner.key.secret }),
  }),
  reading('descriptors that it inherited', 'reads inherited descriptors', {
    control: false,
    w: ({ owner }) => ({ secret: owner.key.secret }),
  }),
  reading('the Worker’s environment in its own', 'shows its environment', {
    control: false,
    w: ({ owner }) => ({ secret: owner.dotenv.secret }),
  }),
  reading('the Worker’s environment in a report', 'makes a report', {
    control: false,
    w: ({ owner }) => ({ secret: owner.dotenv.secret }),
  }),
  reading('a folder’s names', 'lists a folder', { w: ({ canary }) => ({ path: canary.folder }), evidence: 'done' }),
  reading('a folder, watched', 'watches a folder', { w: ({ canary }) => ({ path: canary.folder }), evidence: 'done' }),
  reading('whether a file is there', 'tells whether a file is there', { w: ({ canary }) => ({ path: canary.file }), evidence: 'done' }),
];

const fresh = ({ canary, mark }: Aim) => ({ fresh: canary.fresh, path: canary.file, mark });
const writing = (name: string, body: string, more: Partial<Attack> = {}): Attack => ({
  ...{ name, group: 'writing files', body, evidence: 'changed', w: fresh },
  ...more,
});

const writingFiles: readonly Attack[] = [
  writing('over a file', 'writes a file'),
  writing('behind a link', 'appends by a link'),
  writing('a new file', 'creates a file'),
  writing('a new socket', 'creates a socket', { expected: { process: 'root' } }),
  writing('a new folder', 'creates a folder'),
  writing('a new link', 'creates a link'),
  writing('a hard link', 'creates a hard link'),
  writing('by a rename', 'renames a file out of its folder'),
  writing('by a copy', 'copies a file out of its folder'),
  writing('a temporary folder', 'makes a temporary folder elsewhere'),
  writing('nothing: deletes a file', 'deletes a file'),
  writing('a mode', 'changes the mode of a file'),
  writing('times', 'changes the times of a file'),
  writing('an end: cuts a file', 'cuts a file'),
  writing('a diagnostic report', 'writes by a report'),
  writing('a diagnostic report, by its settings', 'writes by a report in a folder'),
  writing('a heap snapshot', 'writes by a heap snapshot'),
  writing('a trace', 'writes by trace events'),
  writing('by V8’s code traces', 'writes by V8 flags'),
  writing('files of another task', 'writes a file', { w: ({ owner, mark }) => ({ path: owner.task.path, mark }) }),
  writing('dependencies of another task', 'writes a file', { w: ({ owner, mark }) => ({ path: owner.layer.path, mark }) }),
  writing('its own task', 'changes its own task', { control: false, w: ({ mark }) => ({ mark }) }),
  writing('code of the Worker', 'changes its own code of the Worker', {
    control: false,
    evidence: 'done',
    expected: { container: 'n/a' },
    wall: false,
  }),
];

const running = (name: string, body: string, more: Partial<Attack> = {}): Attack => ({
  ...{ name, group: 'processes', body, evidence: 'done', expected: { container: 'n/a' }, wall: false },
  ...more,
});
const hurting = (name: string, body: string, signal: string, more: Partial<Attack> = {}): Attack => ({
  ...{ name, group: 'processes', body, evidence: 'hurt', w: ({ victim }) => ({ pid: victim, signal }) },
  ...more,
});

const processes: readonly Attack[] = [
  running('starts a shell', 'starts a program'),
  running('starts Node', 'starts Node'),
  running('forks Node', 'forks Node'),
  running('starts a program by process.binding', 'starts a program by process.binding'),
  running('starts a program by a handle', 'starts a program by a handle'),
  running('starts a program that it brings along', 'starts a program from memory'),
  running('leaves a program behind', 'starts a program in the background', { evidence: 'left', expected: {}, wall: false }),
  running('starts a thread', 'starts a thread'),
  running('loads a native addon', 'loads an addon', { control: false }),
  running('loads a native addon from its folder', 'loads an addon from its folder'),
  running('loads a native addon by require', 'loads an addon by require'),
  running('changes a flag of V8', 'changes a flag of V8'),
  running('runs a program through an inspector of its own', 'speaks to an inspector inside', { control: false }),
  { ...running('opens the inspector of the Worker', 'opens the inspector of the Worker'), evidence: 'inspector', expected: {}, wall: true },
  {
    ...running('opens the inspector of the Worker by a signal', 'opens the inspector of the Worker by a signal'),
    evidence: 'inspector',
    expected: {},
    wall: true,
  },
  {
    ...running('opens an inspector of its own by a signal', 'opens its own inspector by a signal'),
    evidence: 'dialled',
    expected: {},
    control: false,
  },
  hurting('ends a process of the owner', 'signals a process', 'SIGKILL'),
  hurting('stops a process of the owner', 'signals a process', 'SIGSTOP'),
  hurting('ends a process of the owner around the guard', 'signals a process around the guard', 'SIGKILL', { control: false }),
  hurting('ends a process of the owner from another realm', 'signals a process from another realm', 'SIGKILL'),
  hurting('slows a process of the owner down', 'slows a process down', ''),
  { ...running('takes a higher priority', 'takes a higher priority'), control: 'root', expected: {}, wall: true },
  { ...running('becomes root', 'becomes another user'), control: 'root', expected: {}, wall: true },
  hurting('traces a process of the owner', 'system call', '', {
    evidence: 'done',
    w: ({ victim }) => ({ call: 'ptrace another process', pid: victim }),
  }),
  hurting('reads the memory of a process of the owner', 'system call', '', {
    evidence: 'done',
    w: ({ victim }) => ({ call: 'process_vm_readv another', pid: victim }),
  }),
  hurting('takes a descriptor of a process of the owner', 'system call', '', {
    evidence: 'done',
    w: ({ victim }) => ({ call: 'pidfd_getfd of the Worker', pid: victim }),
  }),
  hurting('enters the network of the owner', 'system call', '', {
    evidence: 'done',
    control: 'root',
    w: ({ victim }) => ({ call: "setns to the Worker's network", pid: victim }),
  }),
  hurting('enters the files of the owner', 'system call', '', {
    evidence: 'done',
    control: 'root',
    w: ({ victim }) => ({ call: "setns to the Worker's files", pid: victim }),
  }),
];

const kernel = (name: string, call: string, more: Partial<Attack> = {}): Attack => ({
  ...{ name, group: 'kernel', body: 'system call', evidence: 'done', w: () => ({ call }) },
  ...more,
});
const forRoot = { control: 'root' } as const;

const kernelCalls: readonly Attack[] = [
  kernel('ptrace of its own child', 'ptrace a child', { expected: { container: 'open' } }),
  kernel('process_vm_readv', 'process_vm_readv', { expected: { container: 'open' } }),
  kernel('process_vm_writev', 'process_vm_writev', { expected: { container: 'open' } }),
  kernel('bpf', 'bpf', forRoot),
  kernel('perf_event_open', 'perf_event_open'),
  kernel('userfaultfd', 'userfaultfd'),
  kernel('io_uring', 'io_uring', { expected: { container: 'open' } }),
  kernel('keyctl', 'keyctl', { expected: { container: 'open' } }),
  kernel('add_key', 'add_key'),
  kernel('request_key', 'request_key'),
  kernel('mount, in a namespace of its own', 'mount', { expected: { container: 'open' } }),
  kernel('umount', 'umount', { ...forRoot, expected: { container: 'open' } }),
  kernel('pivot_root', 'pivot_root', forRoot),
  kernel('chroot', 'chroot', forRoot),
  kernel('setns', 'setns', forRoot),
  kernel('unshare, a user namespace', 'unshare user', { expected: { container: 'open' } }),
  kernel('unshare, a network', 'unshare network', { expected: { container: 'open' } }),
  kernel('clone, a user namespace', 'clone user', { expected: { container: 'open' } }),
  kernel('clone3, a user namespace', 'clone3 user', { expected: { container: 'open' } }),
  kernel('open_tree', 'open_tree', forRoot),
  kernel('fsopen', 'fsopen', forRoot),
  kernel('reboot', 'reboot', forRoot),
  kernel('swapon', 'swapon', forRoot),
  kernel('acct', 'acct', forRoot),
  kernel('syslog', 'syslog', forRoot),
  kernel('personality', 'personality'),
  kernel('kcmp', 'kcmp'),
  kernel('fanotify', 'fanotify', forRoot),
  kernel('open_by_handle_at', 'open_by_handle_at', forRoot),
  kernel('vmsplice', 'vmsplice', { expected: { container: 'open' } }),
  kernel('pidfd_getfd', 'pidfd_getfd', { expected: { container: 'open' } }),
  kernel('memfd_secret', 'memfd_secret', { expected: { container: 'open' } }),
  kernel('a change of the time', 'change the time', forRoot),
  kernel('a change of the host’s name', 'change the host name', forRoot),
  kernel('TIOCSTI, typing into a terminal', 'TIOCSTI', { expected: { container: 'open' } }),
  kernel('TIOCLINUX', 'TIOCLINUX', { expected: { container: 'open' } }),
  kernel('capabilities', 'capabilities', forRoot),
  kernel('privileges by set-uid programs', 'new privileges'),
  kernel('a set-uid program', 'set-uid program', {
    control: 'user',
    w: ({ paths }) => ({ call: 'set-uid program', path: `'${paths.setUid}' 'say euid'` }),
  }),
  kernel('a new block device', 'make a device', forRoot),
  kernel('core_pattern', 'core_pattern', forRoot),
  kernel('a setting of /proc/sys', 'sysctl', forRoot),
  kernel('the log of the kernel', 'kernel log', forRoot),
  kernel('release_agent of a cgroup', 'release_agent', {
    control: 'root',
    w: () => ({ call: 'release_agent', path: '/sys/fs/cgroup/memory/release_agent' }),
  }),
  kernel('4,000 processes', '4,000 processes'),
  kernel('a raw IPv4 socket', 'raw socket', forRoot),
  kernel('a raw IPv6 socket', 'raw IPv6 socket', forRoot),
  kernel('a packet socket', 'packet socket', forRoot),
  kernel('a netlink socket for auditing', 'netlink audit', { expected: { container: 'open' } }),
  kernel('a netlink socket for firewalls', 'netlink firewall', { expected: { container: 'open' } }),
  kernel('a socket to the hypervisor', 'vsock', { expected: { container: 'open' } }),
];

export const machineAttacks: readonly Attack[] = [...readingFiles, ...writingFiles, ...processes, ...kernelCalls];
