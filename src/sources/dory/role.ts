import type { PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { ActiveRuns } from './active-runs.js';
import type { DoryApi } from './api.js';
import type { Journal } from './journal.js';
import type { Reporter } from './reporter.js';
import type { Settings } from './settings.js';

/** What a Worker needs for a run in either of its roles, as the coordinator or as a helper. */
export interface RoleOptions {
  readonly workerId: string;
  readonly api: DoryApi;
  readonly settings: Settings;
  readonly active: ActiveRuns;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly log: Log;
  /** The API does not accept the key any more. */
  readonly onRefused: (error: PeerworkError) => void;
}
