import type { Server } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Desk } from '../desk.js';
import type { Gate } from '../http/auth.js';
import type { CrewContext, CrewOptions } from './context.js';
import { Live } from './live.js';
import { OperatorRunner } from './operator-runner.js';
import { Operators, operatorRoutes } from './operators.js';
import { crewManners } from './route.js';
import { taskGroupRoutes } from './task-groups.js';
import { taskRoutes } from './tasks.js';
import { upkeepRoutes } from './upkeep.js';
import { workRoutes } from './work.js';

export const DEFAULT_CREW_PATH = '/crew';

/**
 * What crew 1.0.25 (orchard-insights/crew) serves to its clients, on this ledger: routes, shapes, idempotence, operators and socket.io events.
 * Where it is meant to differ is in docs/crew.md.
 */
export class Crew {
  readonly #context: CrewContext;
  readonly #runner: OperatorRunner;

  constructor(desk: Desk, gate: Gate, options: CrewOptions) {
    this.#context = { desk, gate, options, live: new Live(desk, gate), operators: new Operators(desk.ledger) };
    this.#runner = new OperatorRunner(this.#context);
  }

  async register(app: FastifyInstance): Promise<void> {
    await app.register(
      async (scoped) => {
        crewManners(scoped);
        for (const routes of [taskGroupRoutes, taskRoutes, workRoutes, operatorRoutes, upkeepRoutes]) routes(scoped, this.#context);
      },
      { prefix: this.#context.options.path ?? DEFAULT_CREW_PATH },
    );
    this.#runner.start();
  }

  /** Live events for the clients of this server. */
  attach(server: Server): void {
    this.#context.live.attach(server);
  }

  async close(): Promise<void> {
    await this.#context.live.close();
    await this.#runner.close();
  }
}
