/**
 * Node opens its inspector on SIGUSR1, which every process of the same user may send; a client that connects then runs code in the
 * process, with access to everything in it.
 */
const onSignal = () => {};

/** Arguments for Node processes that we start, which make them ignore SIGUSR1 from the start. Node 20 does not support this. */
export const withoutInspector: readonly string[] = process.allowedNodeEnvironmentFlags.has('--disable-sigusr1')
  ? ['--disable-sigusr1']
  : [];

/**
 * Prevents this process from opening its inspector. A listener replaces Node's own handler and leaves those of a host program as they
 * are. It is never removed: without any listener the signal would end the process. An inspector requested with `--inspect` is not
 * affected.
 */
export function keepInspectorShut(): void {
  if (process.platform !== 'win32' && !process.listeners('SIGUSR1').includes(onSignal)) process.on('SIGUSR1', onSignal);
}
