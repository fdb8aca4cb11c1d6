/** Whether a person can be asked: stdin and stdout are a terminal. */
export function isAttended(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/** Returns undefined, instead of inquirer's error, if the user pressed Ctrl-C or Ctrl-D at a prompt. */
export async function unlessLeft<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'ExitPromptError') return undefined;
    throw thrown;
  }
}
