/**
 * Defaults shared by option tables, docs and code, each written once. The command line leaves them unset in its options, so that
 * programs which construct a Worker or a Master get the same ones.
 */

/** Folder of a Worker's files and of the default ledger, relative to the working directory. */
export const DEFAULT_HOME = '.peerwork';
export const DEFAULT_MEMORY_MB = 512;
export const DEFAULT_STORE_QUOTA_MB = 2_048;
/** Files of jobs on a Worker. */
export const DEFAULT_FILE_QUOTA_MB = 10_240;
export const DEFAULT_DRAIN_MS = 60_000;
export const DEFAULT_NETWORK = 'internet';
export const DEFAULT_SANDBOX = 'auto';

export const DEFAULT_LEDGER = `sqlite:${DEFAULT_HOME}/ledger.db` as const;
/** A lease expires after this long without a beat of its worker. */
export const DEFAULT_LEASE_MS = 30_000;
export const DEFAULT_APPROVAL = 'auto';
export const DEFAULT_WATCH = true;
export const DEFAULT_MASTER_NAME = 'master';
export const DEFAULT_HTTP_HOST = '127.0.0.1';
export const DEFAULT_HTTP_PORT = 8470;

export const DEFAULT_ENGINE = 'auto';
export const DEFAULT_PULL = 'missing';
export const DEFAULT_PULL_TIMEOUT_MS = 600_000;
export const DEFAULT_IMAGE_QUOTA_MB = 10_240;
export const DEFAULT_CONTAINER_PIDS = 512;
export const DEFAULT_CONTAINER_DISK_MB = 1_024;
export const DEFAULT_CONTAINER_LOG_MB = 256;
/** Maximum number of containers per crawl. */
export const DEFAULT_CRAWL_CONTAINERS = 8;
