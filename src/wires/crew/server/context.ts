import type { Gate } from '../../../master/http/auth.js';
import type { JobService } from '../../../master/job-service.js';
import type { Live } from './live.js';
import type { Operators } from './operators.js';

/** State shared by the routes of crew. */
export interface CrewContext {
  readonly service: JobService;
  readonly gate: Gate;
  readonly options: CrewOptions;
  readonly live: Live;
  readonly operators: Operators;
}

export interface CrewOptions {
  /** Path prefix of the routes for crew clients; default `/crew`. */
  readonly path?: string;
  /**
   * How long a polling worker may stay silent before its task goes to another, in seconds; crew's CREW_ABANDONED_TASK_INTERVAL_IN_SECONDS,
   * default 60.
   */
  readonly abandonedSeconds?: number;
  /** crew's CREW_VIRTUAL_OPERATOR_BASE_URL: every channel has an operator at this URL with the channel's name appended. */
  readonly virtualOperatorUrl?: string;
  /** crew's CREW_VIRTUAL_OPERATOR_AUTH_TOKEN. */
  readonly virtualOperatorToken?: string;
  /** Age at which `/api/v1/clean` deletes a group, in days; default 7. */
  readonly expiredGroupDays?: number;
}
