import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { PublicInternet } from '../../src/egress/addresses.js';
import { effectivePolicy } from '../../src/egress/policy.js';
import { EgressProxy, type EgressProxyOptions } from '../../src/egress/proxy.js';

export const preload = fileURLToPath(new URL('../../src/egress/preload.cjs', import.meta.url));

/**
 * A proxy for which every name ending in `.test` is this machine, at the given ports only, and code that runs with the preload. Without a
 * sandbox: this tests that code gets everywhere through the proxy, not that it gets nowhere without.
 */
export async function stage(t: Test, ports: readonly number[], options: Partial<EgressProxyOptions> = {}) {
  const hosts = ports.flatMap((port) => [`service.test:${port}`, `other.test:${port}`]);
  const proxy = await EgressProxy.open({
    policy: effectivePolicy([...hosts, 'away.test:9', 'lost.test:80', 'private.test:80'], {
      internet: true,
      hosts: [...hosts, 'away.test:9'],
    }),
    internet: new PublicInternet([]),
    lookup: async (name) => {
      if (name === 'lost.test') throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      return name === 'private.test' ? ['10.1.2.3'] : ['127.0.0.1'];
    },
    ...options,
  });
  t.teardown(() => proxy.close());
  /** Runs an ES module, which reports its result by `tell(value)`. */
  const run = async (code: string, data: object = {}, env: Record<string, string> = {}): Promise<unknown> => {
    const head = `const data = ${JSON.stringify(data)}; const tell = (value) => console.log(JSON.stringify(value));\n`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--require', preload, '--input-type=module', '-e', head + code], {
      env: { PEERWORK_PROXY_SOCKET: proxy.socketPath, ...env },
    });
    return JSON.parse(stdout) as unknown;
  };
  return { proxy, run };
}

/** Creates a self-signed certificate for `service.test`. */
export function certificate(t: Test): { readonly key: string; readonly cert: string; readonly certFile: string } {
  const folder = t.testdir({});
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const opensslArguments = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=service.test'];
  execFileSync('openssl', [...opensslArguments, '-addext', 'subjectAltName=DNS:service.test', '-keyout', keyFile, '-out', certFile], {
    stdio: 'ignore',
  });
  return { key: readFileSync(keyFile, 'utf8'), cert: readFileSync(certFile, 'utf8'), certFile };
}
