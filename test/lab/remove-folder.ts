import { rm } from 'node:fs/promises';

/**
 * Removes what a test has created, and waits for programs that still write there: children of a killed process, such as a query to
 * an engine, outlive it for a moment. Waits 30 s in total. Not `rmSync`: its retries do not read the folder again.
 */
export const removeFolder = (path: string): Promise<void> => rm(path, { recursive: true, force: true, maxRetries: 24 });
