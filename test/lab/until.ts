/** Only bounds what hangs, however busy the machine is: shorter than the limit of a test, so that the wait itself can say what did not come. */
const LIMIT_MS = 600_000;

/**
 * The one way tests wait: looks again and again until `check` is true. Past the limit it fails with the text of the check, and the place that waits.
 * `context` is asked only then, for what else explains it.
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
