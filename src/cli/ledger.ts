import { once } from 'node:events';
import { createReadStream, createWriteStream, ReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { PeerworkError } from '../errors.js';
import { linesOf } from '../kit/lines.js';
import { exportLines, importLines, invalidExport, MAX_LINE_BYTES, withDriver } from '../ledger/transfer.js';
import { readOptions } from './options.js';

/**
 * Moves a ledger between a file and Postgres, in either direction, by `ledger export FILE` and `ledger import FILE`. The Master
 * must be stopped.
 */
export async function ledger(command: Command): Promise<number> {
  const { ledger: url } = await readOptions(command, 'ledger');
  const [verb, file = ''] = command.args;
  if (verb === 'export') {
    let lines = 0;
    await withDriver(url, async (driver) => {
      const text = async function* () {
        for await (const line of exportLines(driver)) {
          lines += 1;
          yield `${line}\n`;
        }
      };
      if (file === '-') await pipeline(Readable.from(text()), process.stdout, { end: false });
      else await pipeline(Readable.from(text()), createWriteStream(file, { mode: 0o600 }));
    }).catch((thrown: unknown) => Promise.reject(asRefusal(thrown, file)));
    process.stderr.write(`${lines} lines exported\n`);
    return 0;
  }
  if (verb !== 'import') throw new PeerworkError('option-invalid', `${verb} is neither export nor import`);
  const source = file === '-' ? process.stdin : createReadStream(file);
  try {
    // A missing file is reported before the ledger is opened.
    if (source instanceof ReadStream) await once(source, 'open');
    const lines = linesOf(source, MAX_LINE_BYTES, (fault, line) => invalidExport(line, fault));
    const counts = await withDriver(url, (driver) => importLines(driver, lines));
    process.stderr.write(`${counts['job'] ?? 0} jobs imported\n`);
    return 0;
  } catch (thrown) {
    throw asRefusal(thrown, file);
  } finally {
    source.destroy();
  }
}

/** A file that cannot be read or written is for the user to fix. */
function asRefusal(thrown: unknown, file: string): unknown {
  const code = (thrown as NodeJS.ErrnoException).code ?? '';
  if (thrown instanceof PeerworkError || !/^E[A-Z]+$/.test(code)) return thrown;
  return new PeerworkError(code === 'ENOSPC' ? 'disk-full' : 'option-invalid', `${file}: ${(thrown as Error).message}`);
}
