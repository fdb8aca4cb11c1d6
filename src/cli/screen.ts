import { createLog, type Log, type LogLevel } from '../log.js';

/** Output of a long-running command: lines on a pipe; on a terminal, additionally a status that stays at the bottom. */
export interface Screen {
  readonly live: boolean;
  readonly log: Log;
  /** Replaces the status; does nothing on a pipe. */
  show(status: string): void;
  /** Prints a line of its own, whatever the log level. */
  say(line: string): void;
  /** Leaves the last status in place; later output appears below it. */
  end(): void;
}

/** Interval for redrawing the status, in milliseconds. */
export const REDRAW_MS = 200;
/** Interval for progress lines on a pipe, in milliseconds. */
export const REPORT_MS = 5_000;

/** Opens the screen of a command on a stream: live if that is a terminal, otherwise plain lines. */
export async function openScreen(stream: NodeJS.WriteStream, level: LogLevel): Promise<Screen> {
  if (!stream.isTTY) {
    const write = (line: string) => stream.write(`${line}\n`);
    return { live: false, log: createLog({ level, write }), show: () => {}, say: write, end: () => {} };
  }
  const { createLogUpdate } = await import('log-update');
  const update = createLogUpdate(stream, { showCursor: true });
  let status = '';
  const write = (line: string) => {
    if (status === '') stream.write(`${line}\n`);
    else {
      update.persist(line);
      update(status);
    }
  };
  return {
    live: true,
    log: createLog({ level, write }),
    show: (text) => {
      status = text;
      update(text);
    },
    say: write,
    end: () => {
      if (status === '') return;
      status = '';
      update.done();
    },
  };
}
