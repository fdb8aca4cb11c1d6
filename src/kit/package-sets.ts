/**
 * Packages that only some installations need, and that are therefore not installed with peerwork. The packages of one set are
 * installed together. Versions come from package.json (the range) and package-lock.json (the tested one); from these the build
 * writes a lockfile for each set.
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
  /** The first one names the set. */
  readonly packages: readonly string[];
  /** Rounded disk usage including all dependencies. */
  readonly megabytes: number;
}

export type PackageSetName = keyof typeof packageSets;
