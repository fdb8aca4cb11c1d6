import { useState } from 'preact/hooks';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { ApiError, request } from './api.js';
import { Dialog, Problem } from './parts.js';

/** Pushes one job, or a list of jobs, given as JSON. */
export function PushDialog({ onClose, onPushed }: { onClose: () => void; onPushed: (id: string) => void }) {
  const [text, setText] = useState('{\n  "data": {}\n}');
  const [error, setError] = useState<ApiError | undefined>();
  const push = async () => {
    try {
      const { jobs } = await request<{ jobs: { id: string; added: boolean }[] }>(
        'POST',
        'v1/jobs',
        parseJson(text, { ...LOCAL_JSON, exact: true }),
      );
      onClose();
      if (jobs[0] !== undefined) onPushed(jobs[0].id);
    } catch (thrown) {
      setError(thrown instanceof ApiError ? thrown : new ApiError(0, thrown instanceof Error ? thrown.message : String(thrown), ''));
    }
  };
  return (
    <Dialog title="Push a job" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void push();
        }}
      >
        <label>
          A job, or a list of jobs, as JSON: data, id, channel, group, parents, priority …
          <textarea rows={12} spellcheck={false} value={text} onInput={(event) => setText((event.target as HTMLTextAreaElement).value)} />
        </label>
        <Problem error={error} />
        <button class="primary">Push</button>
      </form>
    </Dialog>
  );
}
