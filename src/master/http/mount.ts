import type { IncomingMessage } from 'node:http';

const mounts = new WeakMap<IncomingMessage, string>();

/** Returns the path under which a host app mounted the API for this request; empty at the root. */
export function mountOf(request: IncomingMessage): string {
  return mounts.get(request) ?? '';
}

/** Records the path under which a host app mounted the API for this request. */
export function setMount(request: IncomingMessage, path: string): void {
  mounts.set(request, path.replace(/\/+$/, ''));
}
