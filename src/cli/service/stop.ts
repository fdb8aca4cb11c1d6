import type { Command } from 'commander';
import { systemClock } from '../../clock.js';
import { print } from '../client/print.js';
import { readDotenv, resolveOptions } from '../options.js';
import { commandLine } from '../setup.js';
import { serviceOf } from './installed.js';
import { demandConfiguration } from './readiness.js';
import { untilUp } from './until-up.js';

/** Stops the installed Worker. */
export async function stop(command: Command): Promise<number> {
  const { keeper } = await serviceOf(command, 'stop');
  await keeper.stop({ now: command.opts()['now'] === true });
  const again = keeper.kind === 'background' ? '' : ', and with the machine; `uninstall` removes it';
  print(`Stopped. It starts again with \`${commandLine('restart')}\`${again}.`);
  return 0;
}

/** Restarts the installed Worker, unless its `.env` is invalid. */
export async function restart(command: Command): Promise<number> {
  const { record, keeper, foreign } = await serviceOf(command, 'restart');
  if (foreign) {
    await keeper.restart({ now: command.opts()['now'] === true });
    print(`Restarted: ${keeper.description}. \`${commandLine('status')}\` says whether it runs.`);
    return 0;
  }
  // A mistake in .env must not end a running Worker.
  demandConfiguration(resolveOptions('worker', { dotenv: await readDotenv(record.dotenv) }));
  const since = systemClock.wall();
  await keeper.restart({ now: command.opts()['now'] === true });
  const { name } = await untilUp(keeper, record.home, since);
  print(`The Worker ${name} runs again, kept by ${keeper.description}.`);
  return 0;
}
