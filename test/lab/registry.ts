import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import type { LabDocker } from './docker.js';

interface Blob {
  readonly type: string;
  readonly bytes: Buffer;
}

/**
 * The part of a container registry that `docker pull` needs (the OCI distribution API, read-only), on this process's loopback:
 * every name leads to one image of the lab. For tests inside the lab's namespace.
 */
export class LabRegistry {
  /** Requests for manifests, by name and tag: one per pull. */
  readonly pulls: string[] = [];
  /** While set, requests are held back, as by an unresponsive registry. */
  silent = false;
  readonly #server: Server;
  readonly #blobs: ReadonlyMap<string, Blob>;
  readonly #manifest: Blob;

  private constructor(manifest: Blob, blobs: ReadonlyMap<string, Blob>) {
    this.#manifest = manifest;
    this.#blobs = blobs;
    this.#server = createServer((request, response) => {
      if (this.silent) return;
      const [, name = '', kind = '', reference = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(request.url ?? '') ?? [];
      if (kind === 'manifests' && !reference.startsWith('sha256:')) this.pulls.push(`${name}:${reference}`);
      const blob = kind === 'manifests' ? (name.startsWith('missing') ? undefined : this.#manifest) : this.#blobs.get(reference);
      if (request.url === '/v2/') return response.end();
      if (blob === undefined) return response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
      const headers = { 'content-type': blob.type, 'content-length': blob.bytes.length, 'docker-content-digest': digestOf(blob.bytes) };
      return response.writeHead(200, headers).end(request.method === 'HEAD' ? undefined : blob.bytes);
    });
  }

  static async start(lab: LabDocker, image: string): Promise<LabRegistry> {
    const folder = await mkdtemp(join(lab.folder, 'registry-'));
    try {
      await lab.docker('save', '-o', join(folder, 'image.tar'), image);
      await execa('tar', ['-C', folder, '-xf', join(folder, 'image.tar')]);
      const [saved] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { Config: string; Layers: string[] }[];
      if (saved === undefined) throw new Error('nothing was saved');
      const type = (kind: string) => `application/vnd.docker.${kind}`;
      const config = { type: type('container.image.v1+json'), bytes: readFileSync(join(folder, saved.Config)) };
      const layers = saved.Layers.map((layer) => ({
        type: type('image.rootfs.diff.tar.gzip'),
        bytes: gzipSync(readFileSync(join(folder, layer)), { level: 1 }),
      }));
      const described = ({ type, bytes }: Blob) => ({ mediaType: type, size: bytes.length, digest: digestOf(bytes) });
      const manifestType = type('distribution.manifest.v2+json');
      const manifest = { schemaVersion: 2, mediaType: manifestType, config: described(config), layers: layers.map(described) };
      const blobs = new Map([config, ...layers].map((blob) => [digestOf(blob.bytes), blob]));
      const registry = new LabRegistry({ type: manifestType, bytes: Buffer.from(JSON.stringify(manifest)) }, blobs);
      registry.#server.listen(0, '127.0.0.1');
      await once(registry.#server, 'listening');
      lab.trustRegistry(registry.image('').slice(0, -1));
      return registry;
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  /** Returns the name of an image here, for pulling: all are the same one. */
  image(name: string): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}/${name}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
