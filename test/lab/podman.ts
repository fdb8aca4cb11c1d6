import { appendFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findTool } from './require.js';

/** Debian packages that a lab with podman needs besides those of every lab. */
export const podmanTools = { podman: 'podman', catatonit: 'catatonit', netavark: 'netavark', runc: 'runc', nsenter: 'util-linux' };

/** Makes podman commands use the engine of a lab, with `docker` as another name of podman, like Debian's podman-docker. */
export function podmanEnvironment(folder: string): Readonly<Record<string, string>> {
  return {
    CONTAINERS_CONF: join(folder, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
    CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf'),
    PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH'] ?? ''}`,
  };
}

/** Podman has no daemon: an engine of its own is a folder and configuration files. */
export function setUpPodman(folder: string): void {
  const file = (name: string) => JSON.stringify(join(folder, name));
  mkdirSync(join(folder, 'bin'));
  symlinkSync(findTool('podman') ?? '', join(folder, 'bin', 'docker'));
  writeFileSync(join(folder, 'storage.conf'), `[storage]\ndriver = "overlay"\ngraphroot = ${file('data')}\nrunroot = ${file('run')}\n`);
  writeFileSync(join(folder, 'registries.conf'), '');
  // runc supports every kind of cgroup, crun lacks the hybrid one of some machines. Locks in files: those in memory are shared with
  // other podmans.
  const engine = [
    'runtime = "runc"',
    'cgroup_manager = "cgroupfs"',
    'lock_type = "file"',
    'events_logger = "file"',
    `tmp_dir = ${file('tmp')}`,
  ];
  const network = ['network_backend = "netavark"', `network_config_dir = ${file('net')}`];
  writeFileSync(join(folder, 'containers.conf'), `[engine]\n${engine.join('\n')}\n[network]\n${network.join('\n')}\n`);
}

/** Configures a registry without TLS. */
export function trustRegistry(folder: string, location: string): void {
  appendFileSync(join(folder, 'registries.conf'), `[[registry]]\nlocation = ${JSON.stringify(location)}\ninsecure = true\n`);
}
