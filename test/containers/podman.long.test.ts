import t from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { podmanTools } from '../lab/podman.js';
import { redisTools } from '../lab/redis.js';

/** Tests that `npm test` runs with docker, and that must pass with podman as well. */
const files = [
  './engine.test.js',
  './images.test.js',
  './network.test.js',
  './trusted.test.js',
  '../runners/container.test.js',
  '../runners/container-crash.test.js',
  '../runners/crawl/crawl-runner.test.js',
];
const tools = { ...podmanTools, ...redisTools, nft: 'nftables' };

for (const file of files) await insideDockerLab(t, new URL(file, import.meta.url).href, tools, ['podman']);
