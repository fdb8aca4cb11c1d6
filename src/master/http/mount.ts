import type { IncomingMessage } from 'node:http';

const mounts = new WeakMap<IncomingMessage, string>();

/** The path under which the API was asked for in a host app; empty at the root. */
export function mountOf(request: IncomingMessage): string {
  return mounts.get(request) ?? '';
}

export function setMount(request: IncomingMessage, path: string): void {
  mounts.set(request, path.replace(/\/+$/, ''));
}
