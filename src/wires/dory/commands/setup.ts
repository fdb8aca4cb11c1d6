import type { Command } from 'commander';
import { PeerworkError } from '../../../errors.js';
import type { Check } from '../../../job/health.js';
import type { CommandContext } from '../../wire.js';
import { doryOptions } from '../options.js';
import { imageStep } from './crawler-image.js';
import { type EngineRequest, engineStep } from './docker.js';

type Context = CommandContext<typeof doryOptions>;

/**
 * Runs dory-worker's set-up step by step: docker, `.env`, the image, checks, the service. Each step prints its result; a failed step prints
 * a hint, and the completed steps are kept, so that the same command continues from there. Exit code 1 if the service was not started.
 */
export async function setUpDory(command: Command, context: Context): Promise<number> {
  const { yes = false, install = true } = command.opts<{ yes?: boolean; install?: boolean }>();
  if (yes && !install) throw new PeerworkError('option-invalid', '--yes and --no-install contradict each other');
  const { containers } = await context.options('start-bg');
  if (containers === 'off') throw new PeerworkError('option-invalid', 'PEERWORK_CONTAINERS is off, but runs are containers');
  const code = await context.untilStopped((signal) => prepare(context, { engine: containers, yes, noInstall: !install, signal }));
  return code === 0 ? context.startBackground() : code;
}

/** Runs all steps except the service. */
async function prepare(context: Context, { signal, ...request }: EngineRequest & { readonly signal: AbortSignal }): Promise<number> {
  const progress = (line: string) => void process.stderr.write(`${line}\n`);
  const docker = await engineStep(request, progress);
  report(docker.check);

  const answers = await context.ask();
  if (answers === undefined) {
    print('Cancelled; nothing was written.');
    return 130;
  }
  const dotenv = await context.keep(answers);
  report({ name: '.env', state: 'ok', detail: `${dotenv} is written; only you can read it` });
  if (docker.engine === undefined) return notStarted(context);

  const { doryImage, pullTimeoutMs } = await context.options('start-bg');
  const { check, image } = await imageStep({ engine: docker.engine, wanted: doryImage, pullTimeoutMs, signal, print: progress });
  report(check);
  if (image === undefined) return notStarted(context);
  if (doryImage === undefined) await context.setVariables({ [doryOptions.doryImage.env ?? '']: image });

  // The service is installed by the next step.
  const checks = (await context.check()).filter(({ name }) => name !== 'service');
  print(context.describe(checks));
  return checks.some(({ state }) => state === 'fail') ? notStarted(context) : 0;
}

function report(check: Check): void {
  const hint = check.hint === undefined ? '' : `\n      → ${check.hint}`;
  print(`${check.state.padEnd(4)}  ${check.name}: ${check.detail}${hint}`);
}

function notStarted({ commandLine }: Context): number {
  print(`The service was not started. Once that is fixed, \`${commandLine('setup')}\` continues from here.`);
  return 1;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
