import { appendFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findTool } from './require.js';

/** The Debian packages that a lab with podman needs beside those of any lab. */
export const podmanTools = { podman: 'podman', catatonit: 'catatonit', netavark: 'netavark', runc: 'runc', nsenter: 'util-linux' };

/** What makes a podman command use the engine of a lab, and `docker` another name of podman, as Debian's podman-docker has it. */
export function podmanEnvironment(folder: string): Readonly<Record<string, string>> {
  return {
    CONTAINERS_CONF: join(folder, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
    CONTAINERS_REGISTRIES_CONF: join(folder, 'registries.conf'),
    PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH'] ?? ''}`,
  };
}

/** Podman has no daemon: an engine of its own is a folder and files that say so. */
export function setUpPodman(folder: string): void {
  const file = (name: string) => JSON.stringify(join(folder, name));
  mkdirSync(join(folder, 'bin'));
  symlinkSync(findTool('podman') ?? '', join(folder, 'bin', 'docker'));
  writeFileSync(join(folder, 'storage.conf'), `[storage]\ndriver = "overlay"\ngraphroot = ${file('data')}\nrunroot = ${file('run')}\n`);
  writeFileSync(join(folder, 'registries.conf'), '');
  // runc knows every kind of cgroup, crun not the mixed one of some machines. Locks in files: those in memory are shared with other podmans.
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

/** A registry without TLS. */
export function trustRegistry(folder: string, location: string): void {
  appendFileSync(join(folder, 'registries.conf'), `[[registry]]\nlocation = ${JSON.stringify(location)}\ninsecure = true\n`);
}
