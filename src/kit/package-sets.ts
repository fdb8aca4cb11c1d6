/**
 * The packages that only some need, and that therefore are not installed with peerwork. Those of one set are installed together. Which versions is said by
 * package.json (the range) and package-lock.json (the one that was tested); the build writes a lockfile for each set from these.
 */
export const packageSets = {
  'bittorrent-dht': { packages: ['bittorrent-dht'], megabytes: 1 },
  'bittorrent-tracker': { packages: ['bittorrent-tracker'], megabytes: 4 },
  bullmq: { packages: ['bullmq', 'ioredis'], megabytes: 14 },
  fastify: { packages: ['fastify', '@fastify/rate-limit', '@fastify/swagger', '@fastify/swagger-ui'], megabytes: 30 },
  ioredis: { packages: ['ioredis'], megabytes: 2 },
  libsql: { packages: ['libsql'], megabytes: 10 },
  pg: { packages: ['pg'], megabytes: 1 },
  'socket.io': { packages: ['socket.io'], megabytes: 6 },
} as const satisfies Record<string, PackageSetFacts>;

interface PackageSetFacts {
  /** The first gives the set its name. */
  readonly packages: readonly string[];
  /** What it takes on the disk with all that it depends on, rounded. */
  readonly megabytes: number;
}

export type PackageSetName = keyof typeof packageSets;
