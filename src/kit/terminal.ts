/** Whether a person can be asked: input and output are a terminal. */
export function isAttended(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/** undefined instead of inquirer's error if the owner pressed Ctrl-C or Ctrl-D at a question. */
export async function unlessLeft<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'ExitPromptError') return undefined;
    throw thrown;
  }
}
