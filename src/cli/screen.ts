import { createLog, type Log, type LogLevel } from '../log.js';

/** Where a long-running command speaks: lines on a pipe, and on a terminal also a status that stays at the bottom. */
export interface Screen {
  readonly live: boolean;
  readonly log: Log;
  /** Replaces the status; does nothing on a pipe. */
  show(status: string): void;
  /** A line of its own, whatever the log level. */
  say(line: string): void;
  /** Leaves the last status where it is; what comes after stands below it. */
  end(): void;
}

/** How often a status is worth drawing. */
export const REDRAW_MS = 200;
/** How often a line about progress is worth writing to a pipe. */
export const REPORT_MS = 5_000;

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
