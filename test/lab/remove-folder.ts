import { rm } from 'node:fs/promises';

/**
 * Removes what a test has made, and waits for programs that still write there: what a killed one has started, such as a question
 * to an engine, outlives it for a moment. Waits 30 s in all. Not `rmSync`: its retries do not read the folder anew.
 */
export const removeFolder = (path: string): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 24 });
