import { fileURLToPath } from 'node:url';

/** Where what runs without a network of its own finds the proxy's socket. */
export const PROXY_SOCKET = '/run/peerwork/proxy.sock';

/** Loaded by `node --require` in such a sandbox, it leads ordinary connections through that socket. */
export const PRELOAD = { source: fileURLToPath(new URL('./preload.cjs', import.meta.url)), target: '/run/peerwork/preload.cjs' } as const;
