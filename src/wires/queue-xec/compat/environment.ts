import { config } from 'dotenv';

/** As queue-xec: `.env` of the working directory is read when the package is loaded, and the environment goes before it. */
config({ quiet: true });

/** Of both tokens the one in the options, else the environment's; what is empty or null says nothing. */
export function tokensOf(options: { readonly token?: string | null; readonly transferEncryptToken?: string | null }) {
  return {
    token: options.token || process.env['token'] || undefined,
    transferEncryptToken: options.transferEncryptToken || process.env['transferEncryptToken'] || undefined,
  };
}

/** Whether it is one of ours, or a piece of one: queue-xec takes any other word. */
export function isOurs(token: string): boolean {
  return /\bpw\d+\./.test(token);
}
