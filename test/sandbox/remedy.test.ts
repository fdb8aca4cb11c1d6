import t from 'tap';
import { type System, sandboxRemedy } from '../../src/sandbox/remedy.js';

function system(files: Readonly<Record<string, string>>, facts: Partial<System> = {}): System {
  return { platform: 'linux', isRoot: false, read: (path) => files[path], ...facts };
}

/** As in the os-release of each system. */
const releases: Readonly<Record<string, readonly [release: string, command: string]>> = {
  debian: ['PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', 'sudo apt install bubblewrap'],
  ubuntu: ['NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n', 'sudo apt install bubblewrap'],
  'a child of Ubuntu': ['ID=zorin\nID_LIKE="ubuntu debian"\n', 'sudo apt install bubblewrap'],
  fedora: ['ID=fedora\nVERSION_ID=41\n', 'sudo dnf install bubblewrap'],
  rocky: ['ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', 'sudo dnf install bubblewrap'],
  'centos 7': ['ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n', 'sudo yum install bubblewrap'],
  'amazon 2': ['ID="amzn"\nID_LIKE="centos rhel fedora"\nVERSION_ID="2"\n', 'sudo yum install bubblewrap'],
  arch: ['NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n', 'sudo pacman -S bubblewrap'],
  manjaro: ['ID=manjaro\nID_LIKE=arch\n', 'sudo pacman -S bubblewrap'],
  alpine: ['ID=alpine\nVERSION_ID=3.20.0\n', 'sudo apk add bubblewrap'],
  tumbleweed: ['ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', 'sudo zypper install bubblewrap'],
  void: ["NAME='Void'\nID='void'\n", 'sudo xbps-install -S bubblewrap'],
  gentoo: ['ID=gentoo\n', 'sudo emerge sys-apps/bubblewrap'],
  nixos: ['ID=nixos\n', 'nix-env -iA nixos.bubblewrap'],
  'one that nobody knows': ['ID=mine\n', 'sudo <package manager> install bubblewrap'],
  'one that says nothing': ['', 'sudo <package manager> install bubblewrap'],
};

t.test('the command that installs bubblewrap is that of the system', async (t) => {
  for (const [name, [release, command]] of Object.entries(releases))
    t.equal(sandboxRemedy(false, system({ '/etc/os-release': release })), `Install bubblewrap: \`${command}\`.`, name);
  const alpine = { '/usr/lib/os-release': 'ID=alpine\n' };
  t.match(sandboxRemedy(false, system(alpine, { isRoot: true })), '`apk add bubblewrap`', 'root needs no sudo');
  const silverblue = { '/etc/os-release': 'ID=fedora\nVARIANT_ID=silverblue\n', '/run/ostree-booted': '' };
  t.match(sandboxRemedy(false, system(silverblue)), 'sudo rpm-ostree install bubblewrap');
});

t.test('what keeps an installed one from working is named, with its remedy', async (t) => {
  const proc = (name: string, value: number) => ({ [`/proc/sys/${name.replaceAll('.', '/')}`]: `${value}\n` });
  const none = proc('user.max_user_namespaces', 0);
  const clone = proc('kernel.unprivileged_userns_clone', 0);
  const armor = proc('kernel.apparmor_restrict_unprivileged_userns', 1);
  const container = { '/.dockerenv': '' };
  t.match(sandboxRemedy(true, system(none)), /echo 'user.max_user_namespaces = 15000' \| sudo tee .* && sudo sysctl --system`\.$/);
  t.match(sandboxRemedy(true, system({ ...none, ...container })), /sysctl --system` on the host of this container\.$/);
  t.match(sandboxRemedy(true, system(clone)), /'kernel.unprivileged_userns_clone = 1'/);
  t.match(sandboxRemedy(true, system(armor)), /AppArmor.*\/etc\/apparmor\.d\/bwrap/);
  t.match(sandboxRemedy(true, system({ ...armor, ...container })), /^This container may not make namespaces/);
  for (const settings of [clone, armor])
    t.match(sandboxRemedy(true, system(settings, { isRoot: true })), /says more/, 'root is not held by it');
  t.match(sandboxRemedy(true, system({})), /`bwrap .*` says more/);
});

t.test('elsewhere than on Linux there is none, which is said', async (t) => {
  for (const [platform, said] of [
    ['darwin', /^macOS has no such wall.*virtual machine/],
    ['win32', /^Windows has no such wall.*WSL 2/],
    ['freebsd', /^Only Linux has such a wall/],
  ] as const)
    t.match(sandboxRemedy(false, system({}, { platform })), said);
});
