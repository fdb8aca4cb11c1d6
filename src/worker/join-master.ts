import type { Clock } from '../clock.js';
import type { WithoutNull } from '../kit/omit.js';
import type { Log } from '../log.js';
import { MasterSource, type WorkerFacts } from '../sources/master/master-source.js';
import type { Outbox } from '../sources/outbox.js';
import type { OutgoingFiles } from '../sources/outgoing-files.js';
import { identityId, type KeyPair } from '../swarm/identity.js';
import { nodePlatform } from '../swarm/platform.node.js';
import type { Token } from '../swarm/token.js';
import { WorkerSwarm } from '../swarm/worker-swarm.js';
import type { WorkerOptions } from './options.js';

export interface JoinMasterOptions {
  readonly token: Token;
  readonly identity: KeyPair;
  readonly name: string;
  readonly outbox: Outbox;
  readonly outgoing: OutgoingFiles;
  /** Resolves with the Worker's facts, possibly some time after the start. */
  readonly facts: () => Promise<WorkerFacts>;
  readonly options: WithoutNull<WorkerOptions>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Creates the source for the Master of this token. It searches for the Master once started. */
export function joinMaster({ token, identity, name, outbox, outgoing, facts, options, clock, log }: JoinMasterOptions): MasterSource {
  const { transferEncryptToken, trackers, ice } = options;
  return new MasterSource({
    clock,
    log,
    outbox,
    outgoing,
    facts,
    publisher: identityId(token.publicKey),
    join: (accept) =>
      new WorkerSwarm({
        token,
        identity,
        name,
        platform: nodePlatform(),
        clock,
        log,
        ...(transferEncryptToken === undefined ? {} : { transferSecret: transferEncryptToken }),
        ...(trackers === undefined ? {} : { trackers }),
        ...(ice === undefined ? {} : { ice }),
        accept,
      }),
  });
}
