/**
 * A JS exception that leaves a node-datachannel callback aborts the process (SIGABRT, `uncaughtException` is not even
 * asked). So every callback given to it goes through here: the exception is thrown again where Node can report it.
 */
export function safely<Args extends unknown[]>(callback: (...args: Args) => void): (...args: Args) => void {
  return (...args) => {
    try {
      callback(...args);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}
