import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { systemClock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import { conceal } from '../../../log.js';
import type { CommandContext } from '../../wire.js';
import type { doryOptions } from '../options.js';
import { mintKey } from '../source/api.js';
import { credentialsFile, openAccess, readCredentials, removeCredentials, withoutSlash, writeCredentials } from '../source/credentials.js';

type Context = CommandContext<typeof doryOptions>;

const DEFAULT_API = 'http://localhost:4500';

/** Prompts on a terminal for missing values and requests a key. The password is not stored. */
export async function login(_: Command, context: Context): Promise<number> {
  const { doryApi, loginApi, loginUser, loginPassword, loginLabel } = await context.options('login');
  const attended = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const ask = attended ? await openQuestions() : undefined;
  const known = loginApi ?? doryApi;
  const apiBaseUrl = withoutSlash(known ?? (await ask?.text('URL of the dory-api:', DEFAULT_API)) ?? DEFAULT_API);
  if (!URL.canParse(apiBaseUrl)) throw new PeerworkError('option-invalid', `${apiBaseUrl} is not a URL`);
  const username = loginUser ?? (await ask?.text('User name:'));
  if (!username) throw new PeerworkError('option-invalid', 'without a terminal, log-in needs `--username` or DORY_USERNAME');
  const typed = loginPassword === '-' ? undefined : loginPassword;
  const password = typed ?? (loginPassword === undefined && ask !== undefined ? await ask.password('Password:') : await firstLine());
  if (!password) throw new PeerworkError('option-invalid', 'there is no password: give DORY_PASSWORD, or a line on stdin');
  conceal(password);
  const label = loginLabel ?? (await ask?.text('Label of this machine:', hostname())) ?? hostname();
  const apiKey = await mintKey(systemClock, apiBaseUrl, { username, password, label });
  await writeCredentials({ apiBaseUrl, username, label, apiKey, createdAt: new Date().toISOString() });
  process.stdout.write(`Logged in at ${apiBaseUrl} as ${username} (${label}). The key is in ${credentialsFile()}; only you can read it.\n`);
  return 0;
}

/** Removes the stored key; it stays valid at the API until it is revoked there. */
export async function logout(): Promise<number> {
  const removed = await removeCredentials();
  process.stdout.write(removed ? 'Logged out: the key is removed from this machine.\n' : 'Nobody was logged in.\n');
  return 0;
}

/** Prints one `name value` pair per line, readable by people and programs. */
export async function whoami(_: Command, context: Context): Promise<number> {
  const { doryApi, doryKey } = await context.options('whoami');
  const { apiBaseUrl } = openAccess({ apiBaseUrl: doryApi, apiKey: doryKey });
  const { username, label } = (doryKey === undefined ? readCredentials() : undefined) ?? {};
  const key = doryKey === undefined ? `from ${credentialsFile()}` : 'from WORKER_API_KEY';
  const rows = [
    ['user', username ?? '(unknown)'],
    ['api', apiBaseUrl],
    ['label', label ?? '(none)'],
    ['key', key],
  ];
  process.stdout.write(`${rows.map(([name = '', value]) => `${name.padEnd(6)} ${value}`).join('\n')}\n`);
  return 0;
}

async function openQuestions() {
  const { default: inquirer } = await import('inquirer');
  const ask = async (question: { readonly type: 'input' | 'password'; readonly message: string; readonly default?: string }) => {
    const { answer } = await inquirer.prompt<{ answer: string }>([
      { ...question, name: 'answer', ...(question.type === 'password' && { mask: true }) },
    ]);
    return answer.trim();
  };
  return {
    text: (message: string, preset?: string) => ask({ type: 'input', message, ...(preset !== undefined && { default: preset }) }),
    password: (message: string) => ask({ type: 'password', message }),
  };
}

async function firstLine(): Promise<string> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    lines.close();
    return line;
  }
  return '';
}
