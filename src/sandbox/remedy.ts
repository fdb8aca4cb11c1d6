/** Advice to the owner of a machine that has no wall around jobs, and how packages are installed on it. */
import { existsSync, readFileSync } from 'node:fs';

/** The facts that the advice depends on; a port for tests. */
export interface System {
  readonly platform: NodeJS.Platform;
  readonly isRoot: boolean;
  /** Returns the content of a system file; undefined if it cannot be read. */
  readonly read: (path: string) => string | undefined;
}

export const thisSystem: System = {
  platform: process.platform,
  isRoot: process.geteuid?.() === 0,
  read(path) {
    try {
      return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    } catch {
      return undefined;
    }
  },
};

/** Install commands by the ids in /etc/os-release: the system's own id first, then those in ID_LIKE. */
const installers: readonly (readonly [ids: readonly string[], command: string])[] = [
  [['debian', 'ubuntu', 'raspbian', 'linuxmint', 'pop', 'kali', 'devuan'], 'apt install'],
  [['fedora', 'rhel', 'centos', 'rocky', 'almalinux', 'ol', 'amzn'], 'dnf install'],
  [['arch', 'manjaro', 'endeavouros', 'archarm'], 'pacman -S'],
  [['alpine', 'postmarketos'], 'apk add'],
  [['opensuse', 'opensuse-leap', 'opensuse-tumbleweed', 'suse', 'sles'], 'zypper install'],
  [['void'], 'xbps-install -S'],
  [['gentoo'], 'emerge'],
  [['solus'], 'eopkg install'],
];
/** Package names of a program, by the id of a system or by the first of those above; `other` everywhere else. */
export type PackageNames = Readonly<Partial<Record<string, string>>> & { readonly other: string };
const BUBBLEWRAP: PackageNames = { other: 'bubblewrap', gentoo: 'sys-apps/bubblewrap' };
const KEEP = '/etc/sysctl.d/60-peerwork.conf';
const APPARMOR_PROFILE = 'abi <abi/4.0>,\\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n}\\n';

/** Returns one sentence: the command that installs bubblewrap here, or why it does not work and how to fix that. */
export function sandboxRemedy(isInstalled: boolean, system: System = thisSystem): string {
  const { platform, read } = system;
  const trust = 'or work only for Masters whose code you trust';
  if (platform === 'darwin') return `macOS has no such wall: run the Worker in a Linux virtual machine, ${trust}.`;
  if (platform === 'win32') return `Windows has no such wall: run the Worker in WSL 2 or a Linux virtual machine, ${trust}.`;
  if (platform !== 'linux') return `Only Linux has such a wall: run the Worker in a Linux virtual machine, ${trust}.`;
  if (!isInstalled) return `Install bubblewrap: \`${installCommand(BUBBLEWRAP, system)}\`.`;
  const onHost = isContainer(read) ? ' on the host of this container' : '';
  const setting = (name: string) => read(`/proc/sys/${name.replaceAll('.', '/')}`)?.trim();
  const set = (name: string, value: number) =>
    `\`echo '${name} = ${value}' | ${asRoot(system, `tee ${KEEP}`)} && ${asRoot(system, 'sysctl --system')}\`${onHost}`;
  if (setting('user.max_user_namespaces') === '0')
    return `bubblewrap may not make user namespaces (user.max_user_namespaces is 0): ${set('user.max_user_namespaces', 15_000)}.`;
  if (!system.isRoot && setting('kernel.unprivileged_userns_clone') === '0')
    return `bubblewrap may not make user namespaces (kernel.unprivileged_userns_clone is 0): ${set('kernel.unprivileged_userns_clone', 1)}.`;
  if (onHost !== '') return `This container may not make namespaces, and is itself the only wall: run the Worker on its host, ${trust}.`;
  if (!system.isRoot && setting('kernel.apparmor_restrict_unprivileged_userns') === '1')
    return (
      'AppArmor keeps bubblewrap from making user namespaces; a profile allows it: ' +
      `\`printf '${APPARMOR_PROFILE}' | ${asRoot(system, 'tee /etc/apparmor.d/bwrap')} && ${asRoot(system, 'systemctl reload apparmor')}\`.`
    );
  return 'bubblewrap is installed and fails: `bwrap --unshare-user --unshare-pid --ro-bind / / true` says more.';
}

/** Returns the command that installs a package on this Linux. */
export function installCommand(names: PackageNames, system: System = thisSystem): string {
  const release = system.read('/etc/os-release') ?? system.read('/usr/lib/os-release') ?? '';
  const field = (name: string) => new RegExp(`^${name}=["']?([^"'\\n]*)`, 'm').exec(release)?.[1]?.toLowerCase() ?? '';
  const id = field('ID');
  if (id === 'nixos') return `nix-env -iA nixos.${names.other}`;
  const atomic = system.read('/run/ostree-booted') !== undefined;
  for (const one of [id, ...field('ID_LIKE').split(/\s+/)]) {
    const [ids = [], tool] = installers.find(([ids]) => ids.includes(one)) ?? [];
    if (tool === undefined) continue;
    const command = `${tool} ${names[id] ?? names[one] ?? names[ids[0] ?? ''] ?? names.other}`;
    const old = (id === 'centos' && field('VERSION_ID').startsWith('7')) || (id === 'amzn' && field('VERSION_ID') === '2');
    return asRoot(system, old ? command.replace('dnf', 'yum') : atomic ? command.replace('dnf', 'rpm-ostree') : command);
  }
  return `${asRoot(system, '<package manager>')} install ${names.other}`;
}

function asRoot({ isRoot }: System, command: string): string {
  return isRoot ? command : `sudo ${command}`;
}

function isContainer(read: System['read']): boolean {
  return ['/.dockerenv', '/run/.containerenv', '/run/systemd/container'].some((path) => read(path) !== undefined);
}
