import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import t from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { OwnersFolder } from '../lab/service.js';

const lab = await insideDockerLab(t, import.meta.url, {}, ['podman']);

if (lab !== undefined)
  t.test('an image is built by the engine that is named, also where another comes first', async (t) => {
    const folder = t.testdir({ bin: {} });
    const called = join(folder, 'called');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    writeFileSync(join(folder, 'bin', 'docker'), `#!/bin/sh\necho "$@" >> ${called}\nexec podman "$@"\n`, { mode: 0o755 });
    const PATH = `${join(folder, 'bin')}${delimiter}${lab.environment['PATH']}`;
    const owner = new OwnersFolder({ env: { ...lab.environment, PATH, PEERWORK_CONTAINERS: 'podman' } });
    t.teardown(() => owner.close());
    t.match(await owner.type('image', '--tag', 'dory-core:v2'), { code: 0, stderr: /^podman / });
    t.notOk(existsSync(called), 'docker was not even asked');
    t.match(await lab.docker('image', 'ls', '--format', '{{.Repository}}:{{.Tag}}'), /dory-core:v2/);
    t.match(await owner.type('image', '--containers', 'docker', '--base', 'no-such-base:1'), { stderr: /^docker |podman/ });
    t.ok(existsSync(called), 'a flag beats the variable');
  });
