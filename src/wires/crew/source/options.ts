import type { ExecAssets } from '../../../task/exec-assets.js';

export interface CrewSourceOptions {
  // generated from crewSource by `npm run generate`
  /**
   * Base URL of the server's routes, such as `http://localhost:3000/` or `https://example.org/crew`. Required unless there is an `endpoint`.
   * Default: none.
   */
  readonly url?: string;
  /** Value of the `Authorization` header of each request, such as `Bearer …`. Default: none. */
  readonly authorization?: string;
  /** Task code by channel: a folder, or an `execAssets` object. */
  readonly tasks: Readonly<Record<string, string | ExecAssets>>;
  /** Address where operators of a crew server send tasks of these channels; in addition to `url`, or instead of it. Default: none. */
  readonly endpoint?: CrewEndpointOptions;
  /** Name of the source; a Worker with several crew sources needs a distinct one for each. Default: `crew`. */
  readonly name?: string;
  /** Longest polling interval of an idle channel. With many idle channels it is longer. Default: 15,000 ms. */
  readonly intervalMs?: number;
  /** How often to ask the server whether a running task is still assigned to this Worker. Default: 15,000 ms. */
  readonly watchMs?: number;
  /** Time limit of one run; 0 is none. Default: none. */
  readonly timeoutMs?: number;
  // end
}

/** A server to poll. */
export type CrewPlace = Required<Pick<CrewSourceOptions, 'url'>> & Pick<CrewSourceOptions, 'authorization'>;

export interface CrewEndpointOptions {
  // generated from crewEndpoint by `npm run generate`
  /** Port to listen on. */
  readonly port: number;
  /** Address to listen on; any that is not loopback needs a token. Default: `127.0.0.1`. */
  readonly host?: string;
  /** Token that callers must send: as `accessToken` in the query or the body, or as `Authorization: Bearer …`. Default: none. */
  readonly token?: string;
  // end
}
