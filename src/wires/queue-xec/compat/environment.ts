import { config } from 'dotenv';

/** Like queue-xec, reads `.env` of the working directory when the package is loaded; existing environment variables take precedence. */
config({ quiet: true });

/** Returns both tokens, from the options or else from the environment; empty and null count as absent. */
export function tokensOf(options: { readonly token?: string | null; readonly transferEncryptToken?: string | null }) {
  return {
    token: options.token || process.env['token'] || undefined,
    transferEncryptToken: options.transferEncryptToken || process.env['transferEncryptToken'] || undefined,
  };
}

/** Whether the text is a token of ours or a fragment of one; queue-xec accepts any other word. */
export function isOurs(token: string): boolean {
  return /\bpw\d+\./.test(token);
}
