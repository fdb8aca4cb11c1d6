import type { Gate } from '../../../master/http/auth.js';
import type { JobService } from '../../../master/job-service.js';
import type { Live } from './live.js';
import type { Operators } from './operators.js';

/** What the routes of crew share. */
export interface CrewContext {
  readonly service: JobService;
  readonly gate: Gate;
  readonly options: CrewOptions;
  readonly live: Live;
  readonly operators: Operators;
}

export interface CrewOptions {
  /** Path under which crew clients find their routes; default `/crew`. */
  readonly path?: string;
  /** How long a polling worker may be silent before its task goes to another, in seconds; crew's CREW_ABANDONED_TASK_INTERVAL_IN_SECONDS, default 60. */
  readonly abandonedSeconds?: number;
  /** crew's CREW_VIRTUAL_OPERATOR_BASE_URL: every channel has an operator at this address with the name of the channel behind it. */
  readonly virtualOperatorUrl?: string;
  /** crew's CREW_VIRTUAL_OPERATOR_AUTH_TOKEN. */
  readonly virtualOperatorToken?: string;
  /** Groups older than this are deleted when `/api/v1/clean` is called, in days; default 7. */
  readonly expiredGroupDays?: number;
}
