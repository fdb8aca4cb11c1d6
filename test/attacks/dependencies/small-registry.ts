import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { packTarball } from './tarball.js';

export interface Published {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
  readonly sha1: string;
  readonly files: Readonly<Record<string, string>>;
  readonly tarball: Buffer;
  readonly manifest: object;
  /** The registry knows no SHA-512 of it. */
  readonly old: boolean;
}

/** A registry on this loopback with some packages, among them what an attacker may publish like anybody. */
export class SmallRegistry {
  /** Paths asked for, in order. */
  readonly asked: string[] = [];
  /** What was shown for them. */
  readonly shown: (string | undefined)[] = [];
  /** Packages of this scope are for who shows this. */
  closed: { readonly scope: string; readonly authorization: string } | undefined;
  /** Where tarballs are sent to instead of being served. */
  elsewhere: string | undefined;
  readonly #packages = new Map<string, Published>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const path = decodeURIComponent(request.url ?? '');
      const { authorization } = request.headers;
      this.asked.push(path);
      this.shown.push(authorization);
      if (this.closed !== undefined && path.startsWith(`/${this.closed.scope}/`) && authorization !== this.closed.authorization)
        return void response.writeHead(401).end('{}');
      const tarball = [...this.#packages.values()].find((each) => path === tarballPath(each));
      if (tarball !== undefined && this.elsewhere !== undefined) return void response.writeHead(302, { location: this.elsewhere }).end();
      if (tarball !== undefined) return void response.end(tarball.tarball);
      const versions = [...this.#packages.values()].filter(({ name }) => path === `/${name}`);
      const [first] = versions;
      if (first === undefined) return void response.writeHead(404).end('{}');
      const described = versions.map((each) => [each.version, { ...each.manifest, dist: this.#dist(each) }]);
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ name: first.name, 'dist-tags': { latest: versions.at(-1)?.version }, versions: Object.fromEntries(described) }),
      );
    });
  }

  static async start(): Promise<SmallRegistry> {
    const registry = new SmallRegistry();
    registry.#server.listen(0, '127.0.0.1');
    await once(registry.#server, 'listening');
    return registry;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** Every file says which package it is of, so that it can be told again. */
  publish(name: string, version: string, fields: object = {}, more: Readonly<Record<string, string>> = {}, old = false): Published {
    const manifest = { name, version, ...fields };
    const files = { 'package.json': JSON.stringify(manifest), 'index.js': `module.exports = '${name}@${version}';\n`, ...more };
    const tarball = packTarball(files);
    const digest = (algorithm: string, encoding: 'base64' | 'hex') => createHash(algorithm).update(tarball).digest(encoding);
    const integrity = `sha512-${digest('sha512', 'base64')}`;
    const published = { name, version, integrity, sha1: digest('sha1', 'hex'), files, tarball, manifest, old };
    this.#packages.set(`${name}@${version}`, published);
    return published;
  }

  find(name: string, version: string): Published | undefined {
    return this.#packages.get(`${name}@${version}`);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #dist(published: Published): object {
    const { integrity, sha1, old } = published;
    return { tarball: `${this.url.slice(0, -1)}${tarballPath(published)}`, shasum: sha1, ...(!old && { integrity }) };
  }
}

function tarballPath({ name, version }: Published): string {
  return `/${name}/-/${name.replace(/^.*\//, '')}-${version}.tgz`;
}
