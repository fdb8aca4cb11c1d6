import { useEffect, useRef, useState } from 'preact/hooks';
import { Batch } from '../kit/batch.js';
import { ApiError, get, readEvents, type ServerEvent } from './api.js';

const FLUSH_MS = 250;
const RETRY_MS = 2_000;
/** Further events of a batch are dropped, and views reload as after a gap. */
const MAX_BATCH = 20_000;

const listeners = new Set<(events: readonly ServerEvent[]) => void>();
const watchers = new Set<(connected: boolean) => void>();
/** Events since the last flush, so that views repaint a few times a second at most, however much happens. */
const batch = new Batch<ServerEvent>(MAX_BATCH, { name: 'gap' });
let timer: ReturnType<typeof setTimeout> | undefined;
let connected = false;

function enqueue(event: ServerEvent): void {
  batch.add(event);
  if (timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    const events = batch.take();
    for (const listener of listeners) listener(events);
  }, FLUSH_MS);
}

function setConnected(now: boolean): void {
  if (now === connected) return;
  connected = now;
  for (const watcher of watchers) watcher(now);
}

/** Reads events as long as the page lives; after a gap, views reload what they may have missed. */
export async function listen(): Promise<never> {
  let last = '';
  for (;;) {
    try {
      await readEvents(last, new AbortController().signal, (id, event) => {
        last = id;
        setConnected(true);
        if (event !== undefined) enqueue(event);
      });
    } catch {
      // Retried below.
    }
    setConnected(false);
    enqueue({ name: 'gap' });
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Whether events are arriving, as state of a component. */
export function useConnected(): boolean {
  const [now, set] = useState(connected);
  useEffect(() => {
    watchers.add(set);
    return () => void watchers.delete(set);
  }, []);
  return now;
}

/** Calls the listener with each batch of events while the component is mounted. */
export function useEvents(listener: (events: readonly ServerEvent[]) => void): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const notify = (events: readonly ServerEvent[]) => latest.current(events);
    listeners.add(notify);
    return () => void listeners.delete(notify);
  }, []);
}

export interface Query<T> {
  readonly data: T | undefined;
  readonly error: ApiError | undefined;
  readonly reload: () => void;
}

/** Loads a URL, and reloads it when an event matches: at most once in `everyMs`, and never concurrently. */
export function useQuery<T>(path: string | undefined, wants: (event: ServerEvent) => boolean, everyMs = 1_000): Query<T> {
  const [state, set] = useState<{ readonly data?: T; readonly error?: ApiError }>({});
  const reading = useRef({ busy: false, again: false, readAt: 0, path });
  const read = () => {
    const now = reading.current;
    if (path === undefined) return;
    if (now.busy) {
      now.again = true;
      return;
    }
    now.busy = true;
    now.readAt = Date.now();
    get<T>(path)
      .then(
        (data) => now.path === path && set({ data }),
        (error: unknown) => now.path === path && error instanceof ApiError && set((before) => ({ ...before, error })),
      )
      .finally(() => {
        now.busy = false;
        if (now.again) {
          now.again = false;
          setTimeout(() => latest.current(), Math.max(0, now.readAt + everyMs - Date.now()));
        }
      });
  };
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    reading.current.path = path;
    reading.current.again = reading.current.busy;
    set({});
    read();
  }, [path]);
  useEvents((events) => {
    if (!events.some((event) => event.name === 'gap' || wants(event))) return;
    const wait = reading.current.readAt + everyMs - Date.now();
    if (wait <= 0) read();
    else if (!reading.current.again) {
      reading.current.again = true;
      setTimeout(() => {
        reading.current.again = false;
        latest.current();
      }, wait);
    }
  });
  return { data: state.data, error: state.error, reload: () => latest.current() };
}
