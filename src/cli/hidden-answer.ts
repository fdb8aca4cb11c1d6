import { StringDecoder } from 'node:string_decoder';
import { type Clock, systemClock, type Timer } from '../clock.js';

/**
 * Input within this time after a line end belongs to the same paste. Nobody types that fast; a slower paste is completed in the
 * next round, since what was entered stays.
 */
const QUIET_MS = 150;
const MAX_CHARS = 64 * 1024;
const MASK_CHARS = 32;

const KEYS = { interrupt: '\u0003', end: '\u0004', backspace: /[\u007f\b]/, clear: '\u0015' } as const;
// Makes the terminal mark where a paste begins and ends.
const [PASTES_ON, PASTES_OFF, PASTE_BEGINS, PASTE_ENDS] = ['\u001b[?2004h', '\u001b[?2004l', '\u001b[200~', '\u001b[201~'] as const;
/** One character or one complete key sequence, such as an arrow key. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: keys are sent as such.
const KEY = /\u001b\[[\d;?]*[A-Za-z~]|\u001bO?.|[\s\S]/gu;

export interface HiddenQuestion<T> {
  readonly message: string;
  /** Parses the input. If it throws, the message is shown and the input stays, to be completed or cleared (Ctrl-U). */
  readonly accept: (text: string) => T;
  readonly input?: NodeJS.ReadStream;
  readonly output?: NodeJS.WriteStream;
  readonly clock?: Clock;
}

/** The question was left with Ctrl-C or Ctrl-D. Has the name of inquirer's error. */
export class PromptCancelled extends Error {
  override readonly name = 'ExitPromptError';
}

/**
 * Asks on a terminal for a secret, which is never shown. Unlike a line editor it accepts a paste as a whole, including line ends:
 * if a token was broken at the edge of a terminal, no part of it is left over for the next question. Rejects with `PromptCancelled`.
 */
export function askHidden<T>(question: HiddenQuestion<T>): Promise<T> {
  const { message, accept, input = process.stdin, output = process.stdout, clock = systemClock } = question;
  const decoder = new StringDecoder('utf8');
  let text = '';
  let pasting = false;
  let pendingSubmit: Timer | undefined;
  const draw = () => {
    // Some terminals report zero columns. A line that wraps could not be redrawn.
    const room = Math.max(0, (output.columns || 80) - message.length - 4);
    output.write(`\r\u001b[K? ${message} ${'*'.repeat(Math.min(MASK_CHARS, room, text.replace(/\s/g, '').length))}`);
  };
  return new Promise<T>((resolve, reject) => {
    const end = () => {
      pendingSubmit?.cancel();
      input.off('data', receive);
      input.off('end', cancel);
      input.setRawMode(false);
      input.pause();
      output.write(`${PASTES_OFF}\n`);
    };
    const submit = () => {
      pendingSubmit = undefined;
      try {
        const answer = accept(text.trim());
        end();
        resolve(answer);
      } catch (thrown) {
        output.write(`\n> ${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
        if (text !== '') text += '\n';
        draw();
      }
    };
    const cancel = () => {
      end();
      reject(new PromptCancelled());
    };
    const handleKey = (key: string) => {
      if (key === PASTE_BEGINS || key === PASTE_ENDS) pasting = key === PASTE_BEGINS;
      else if (key === KEYS.interrupt || (key === KEYS.end && text === '')) cancel();
      else if (key === KEYS.clear) text = '';
      else if (KEYS.backspace.test(key)) text = text.replace(/[\s\S]$/u, '');
      else if (/^[\r\n]$/.test(key)) {
        text += '\n';
        if (pasting) return;
        pendingSubmit?.cancel();
        pendingSubmit = clock.after(QUIET_MS, submit);
      } else if (!/^\p{Cc}/u.test(key) && text.length < MAX_CHARS) text += key;
    };
    const receive = (chunk: Buffer | string) => {
      pendingSubmit?.cancel();
      pendingSubmit = undefined;
      const keys = decoder.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk).match(KEY) ?? [];
      for (const key of keys) handleKey(key);
      // If the paste continued after its last line end, that part is still unconfirmed.
      draw();
    };
    input.setRawMode(true);
    input.on('data', receive);
    input.on('end', cancel);
    input.resume();
    output.write(PASTES_ON);
    draw();
  });
}
