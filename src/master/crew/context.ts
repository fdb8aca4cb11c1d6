import type { Desk } from '../desk.js';
import type { Gate } from '../http/auth.js';
import type { Live } from './live.js';
import type { Operators } from './operators.js';

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

/** What the routes of crew share. */
export interface CrewContext {
  readonly desk: Desk;
  readonly gate: Gate;
  readonly options: CrewOptions;
  readonly live: Live;
  readonly operators: Operators;
}
