/** What the promise comes to, or undefined as soon as the signal aborts. Either way nothing is left on the signal, which may live long. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = () => resolve(undefined);
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    const settled = () => signal.removeEventListener('abort', giveUp);
    promise.then(resolve, reject).finally(settled);
  });
}
