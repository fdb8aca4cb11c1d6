/**
 * Only bounds hangs, however busy the machine is: shorter than the limit of a test, so that the wait itself can report what did not
 * happen.
 */
const LIMIT_MS = 600_000;

/**
 * The one way in which tests wait: polls until `check` is true. After the limit it fails with the source of the check, and the
 * place that waits. `context` is called only then, for additional information.
 */
export async function until(check: () => boolean | Promise<boolean>, everyMs = 20, context: () => string = () => ''): Promise<void> {
  const failure = new Error();
  const deadline = performance.now() + LIMIT_MS;
  while (!(await check())) {
    if (performance.now() > deadline) {
      failure.message = `still not after ${LIMIT_MS / 1_000} s: ${check}\n${context()}`;
      throw failure;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
