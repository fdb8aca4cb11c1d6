const watched = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `action` once when the signal aborts; returns a function that cancels this. A signal gets one listener for any number of actions:
 * hundreds of calls may share a signal, and engines warn about that many listeners.
 */
export function onAbort(signal: AbortSignal, action: () => void): () => void {
  const actions = watched.get(signal) ?? watch(signal);
  actions.add(action);
  return () => actions.delete(action);
}

function watch(signal: AbortSignal): Set<() => void> {
  const actions = new Set<() => void>();
  watched.set(signal, actions);
  const run = () => {
    for (const action of [...actions]) action();
    actions.clear();
  };
  signal.addEventListener('abort', run, { once: true });
  return actions;
}
