import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { type ApiError, get, setToken } from './api.js';
import { Groups } from './groups.js';
import { Jobs } from './jobs.js';
import { Limits } from './limits.js';
import { listen, useConnected } from './live.js';
import { Overview } from './overview.js';
import { Toast } from './parts.js';
import { Workers } from './workers.js';

const views = ['overview', 'jobs', 'groups', 'workers', 'limits'] as const;
type View = (typeof views)[number];

interface Status {
  readonly name: string;
  readonly version: string;
  readonly scopes: readonly string[];
}

/** Parses `#jobs/ID`: the view and what is open in it, so that links and the browser's back button work. */
function place(): { readonly view: View; readonly chosen: string | undefined } {
  const [name = '', id] = location.hash.slice(1).split('/');
  const view = views.find((one) => one === name) ?? 'overview';
  return { view, chosen: id === undefined || id === '' ? undefined : decoded(id) };
}

/** A link typed by hand may contain a bare `%`. */
function decoded(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

function go(view: View, id?: string): void {
  location.hash = id === undefined ? view : `${view}/${encodeURIComponent(id)}`;
}

function App() {
  const [status, setStatus] = useState<Status | undefined>();
  const [refused, setRefused] = useState<ApiError | undefined>();
  const [{ view, chosen }, setPlace] = useState(place());
  const enter = () => {
    get<Status>('v1/status').then(
      (found) => {
        setStatus(found);
        setRefused(undefined);
      },
      (error: unknown) => setRefused(error as ApiError),
    );
  };
  useEffect(() => {
    enter();
    const onHash = () => setPlace(place());
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, []);
  useEffect(() => {
    if (status !== undefined) void listen();
  }, [status !== undefined]);
  if (status === undefined) return refused === undefined ? <p class="hint">…</p> : <Login error={refused} enter={enter} />;
  const openJob = (id: string | undefined) => go('jobs', id);
  return (
    <>
      <a class="skip" href="#main" onClick={toContent}>
        To the content
      </a>
      <Top status={status} view={view} />
      <main id="main" tabIndex={-1}>
        {view === 'overview' && <Overview />}
        {view === 'jobs' && <Jobs chosen={chosen} open={openJob} />}
        {view === 'groups' && <Groups chosen={chosen} open={(id) => go('groups', id)} openJob={openJob} />}
        {view === 'workers' && <Workers openJob={openJob} />}
        {view === 'limits' && <Limits />}
      </main>
      <Toast />
    </>
  );
}

function toContent(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Top({ status, view }: { status: Status; view: View }) {
  const connected = useConnected();
  return (
    <header class="top">
      <h1>
        {status.name} <small>peerwork {status.version}</small>
      </h1>
      <nav aria-label="Views">
        {views.map((one) => (
          <a key={one} href={`#${one}`} aria-current={one === view ? 'page' : undefined}>
            {one}
          </a>
        ))}
      </nav>
      <span class={connected ? 'tag good' : 'tag'} role="status">
        {connected ? 'live' : 'connecting'}
      </span>
      <ThemeSwitch />
    </header>
  );
}

function ThemeSwitch() {
  const [theme, setTheme] = useState(localStorage.getItem('peerwork theme') ?? 'auto');
  useEffect(() => {
    document.documentElement.dataset['theme'] = theme;
    localStorage.setItem('peerwork theme', theme);
  }, [theme]);
  return (
    <select aria-label="Colours" value={theme} onChange={(event) => setTheme((event.target as HTMLSelectElement).value)}>
      <option value="auto">auto</option>
      <option value="light">light</option>
      <option value="dark">dark</option>
    </select>
  );
}

function Login({ error, enter }: { error: ApiError; enter: () => void }) {
  const [token, set] = useState('');
  return (
    <form
      class="login"
      onSubmit={(event) => {
        event.preventDefault();
        setToken(token);
        enter();
      }}
    >
      <h1>peerwork</h1>
      <p>{error.status === 401 ? 'This Master requires a token.' : `${error.message} ${error.hint}`}</p>
      <label>
        Token
        <input
          type="password"
          autocomplete="current-password"
          value={token}
          onInput={(event) => set((event.target as HTMLInputElement).value)}
        />
      </label>
      <button class="primary">Enter</button>
    </form>
  );
}

render(<App />, document.getElementById('app') as HTMLElement);
