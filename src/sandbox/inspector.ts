/**
 * Node opens its inspector on SIGUSR1, which every process of the same user may send: whoever connects then runs code in the process,
 * with all that it holds.
 */
const onSignal = () => {};

/** For Node processes that are started: they leave SIGUSR1 alone from the first moment. Node 20 does not know how. */
export const withoutInspector: readonly string[] = process.allowedNodeEnvironmentFlags.has('--disable-sigusr1')
  ? ['--disable-sigusr1']
  : [];

/**
 * Keeps this process from listening. A listener takes the place of Node's own and leaves those of a host program as they are. It stays for good:
 * once the last one is removed, the signal ends the process. An inspector that was asked for with `--inspect` is not touched.
 */
export function keepInspectorShut(): void {
  if (process.platform !== 'win32' && !process.listeners('SIGUSR1').includes(onSignal)) process.on('SIGUSR1', onSignal);
}
