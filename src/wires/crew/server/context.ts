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
  // generated from crewServer by `npm run generate`
  /** Path prefix of the routes for crew clients. Default: `/crew`. */
  readonly path?: string;
  /** How long a crew worker may stay silent before its task goes to another. Default: 60 s. */
  readonly abandonedSeconds?: number;
  /** Address that tasks of every channel are sent to, with the channel name appended, as in crew. Default: none. */
  readonly virtualOperatorUrl?: string;
  /** Bearer token sent to the virtual operator. Default: none. */
  readonly virtualOperatorToken?: string;
  /** Age at which `/api/v1/clean` deletes a group. Default: 7 days. */
  readonly expiredGroupDays?: number;
  // end
}
