import t from 'tap';
import { tryOut, WORKED } from '../../src/sandbox/tools.js';

t.test('a trial may take its time, and one that hangs is told from one that fails', async (t) => {
  const [slow, hung, failed] = await Promise.all([
    tryOut(['/bin/sh', '-c', `sleep 5.2; exit ${WORKED}`]),
    tryOut(['/bin/sh', '-c', 'exec sleep 1000'], WORKED, 100),
    tryOut(['/bin/sh', '-c', 'echo no namespaces >&2; exit 1']),
  ]);
  t.equal(slow, undefined, 'on a busy machine');
  t.equal(hung, 'it did not end within 0.1 s');
  t.equal(failed, 'no namespaces');
});
