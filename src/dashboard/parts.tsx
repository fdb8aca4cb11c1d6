import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JobState } from '../ledger/records.js';
import { ApiError, request } from './api.js';

/** Small components that all views share. */

export const states: readonly JobState[] = ['blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled'];
const signs: Readonly<Record<JobState, string>> = { blocked: '◌', ready: '○', leased: '◐', completed: '●', failed: '✕', cancelled: '⊘' };

/** A state as a word and a symbol, since colour alone is not accessible. */
export function State({ state, text }: { state: JobState; text?: string | undefined }) {
  return (
    <span class={`state ${state}`}>
      <span aria-hidden="true">{signs[state]}</span> {text ?? state}
    </span>
  );
}

export function when(at: number | undefined): string {
  if (at === undefined) return '–';
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour12: false });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}

export function duration(ms: number | undefined): string {
  if (ms === undefined) return '–';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

export const count = (value: number): string => value.toLocaleString('en');

/** Listeners that show recent errors. */
const toasts = new Set<(text: string) => void>();
/** Shows a message for a moment. */
export function showToast(text: string): void {
  for (const toast of toasts) toast(text);
}

export function Toast() {
  const [text, set] = useState('');
  useEffect(() => {
    toasts.add(set);
    return () => void toasts.delete(set);
  }, []);
  useEffect(() => {
    const timer = setTimeout(() => set(''), 8_000);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <div class="toast" role="status" hidden={text === ''}>
      {text} <button onClick={() => set('')}>Close</button>
    </div>
  );
}

/** Sends a request to the Master, and shows the error if it is refused. Resolves with whether it succeeded. */
export async function act(method: string, path: string, body?: unknown): Promise<boolean> {
  try {
    await request(method, path, body);
    return true;
  } catch (error) {
    showToast(error instanceof ApiError ? `${error.message} ${error.hint}` : String(error));
    return false;
  }
}

export function Action(props: { children: ComponentChildren; run: () => unknown; confirm?: string; danger?: boolean; disabled?: boolean }) {
  const { children, run, confirm: question, danger = false, disabled = false } = props;
  return (
    <button
      class={danger ? 'danger' : ''}
      disabled={disabled}
      onClick={() => (question === undefined || window.confirm(question)) && void run()}
    >
      {children}
    </button>
  );
}

/** Calls `close` on Escape, wherever the focus is; an open dialog takes precedence. */
export function useEscape(close: () => void): void {
  const latest = useRef(close);
  latest.current = close;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && document.querySelector('dialog[open]') === null) latest.current();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
}

/** A native dialog: Escape closes it, and focus stays inside. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ref.current?.showModal();
  }, []);
  return (
    <dialog ref={ref} onClose={onClose} aria-label={title}>
      <header>
        <h2>{title}</h2>
        <button onClick={() => ref.current?.close()}>Close</button>
      </header>
      {children}
    </dialog>
  );
}

export function Json({ value }: { value: unknown }) {
  const text = JSON.stringify(value, undefined, 2) ?? '';
  return <pre class="json">{text.length > 20_000 ? `${text.slice(0, 20_000)}\n… ${count(text.length)} characters` : text}</pre>;
}

export function Problem({ error }: { error: ApiError | undefined }) {
  return error === undefined ? null : (
    <p class="problem" role="alert">
      {error.message} {error.hint}
    </p>
  );
}

/** A list of rows of equal height, of which only the visible ones are rendered. Arrow keys move, Enter chooses. */
export function VirtualList<T>(props: {
  items: readonly T[];
  keyOf: (item: T) => string;
  label: string;
  rowHeight: number;
  chosen?: string | undefined;
  row: (item: T) => ComponentChildren;
  onChoose: (item: T) => void;
  onEnd?: () => void;
}) {
  const { items, keyOf, label, rowHeight, chosen, row, onChoose, onEnd } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [active, setActive] = useState(0);
  const height = box.current?.clientHeight ?? 600;
  const first = Math.max(0, Math.floor(top / rowHeight) - 10);
  const last = Math.min(items.length, Math.ceil((top + height) / rowHeight) + 10);
  useEffect(() => {
    if (last >= items.length - 50) onEnd?.();
  }, [last, items.length]);
  const move = (to: number) => {
    const next = Math.max(0, Math.min(items.length - 1, to));
    setActive(next);
    const element = box.current;
    if (element === null) return;
    if (next * rowHeight < element.scrollTop) element.scrollTop = next * rowHeight;
    if ((next + 1) * rowHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = (next + 1) * rowHeight - element.clientHeight;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.floor(height / rowHeight);
    const to = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    const item = items[active];
    if (to !== undefined) move(to);
    else if ((event.key === 'Enter' || event.key === ' ') && item !== undefined) onChoose(item);
    else return;
    event.preventDefault();
  };
  return (
    <div
      class="list"
      ref={box}
      role="listbox"
      aria-label={label}
      tabIndex={0}
      aria-activedescendant={`row-${active}`}
      onScroll={() => setTop(box.current?.scrollTop ?? 0)}
      onKeyDown={onKeyDown}
    >
      <div style={{ height: `${items.length * rowHeight}px` }}>
        {items.slice(first, last).map((item, at) => {
          const index = first + at;
          const key = keyOf(item);
          return (
            <div
              key={key}
              id={`row-${index}`}
              role="option"
              aria-selected={key === chosen}
              class={`row${index === active ? ' active' : ''}`}
              style={{ top: `${index * rowHeight}px`, height: `${rowHeight}px` }}
              onClick={() => {
                setActive(index);
                onChoose(item);
              }}
            >
              {row(item)}
            </div>
          );
        })}
      </div>
    </div>
  );
}
