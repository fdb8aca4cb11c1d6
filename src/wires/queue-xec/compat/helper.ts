import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QueueXecError } from '../errors.js';
import type { WireAsset } from './wire-asset.js';

const two = (value: number) => String(value).padStart(2, '0');

/** What both sides of queue-xec have of it. */
// biome-ignore lint/complexity/noStaticOnlyClass: programs of queue-xec call static methods.
class Times {
  /** An instant in milliseconds since the epoch as `DD-MM HH:mm:ss`, in this machine's time. */
  static LocalTime(timestamp: number): string {
    const at = new Date(timestamp);
    return `${two(at.getDate())}-${two(at.getMonth() + 1)} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  }

  static sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** Milliseconds since the epoch. */
  static getTimestamp(): number {
    return Date.now();
  }

  /** Milliseconds since `started`; -1 without it. The name is queue-xec's. */
  static mesurePerf(started?: number): number {
    return started ? Times.getTimestamp() - started : -1;
  }
}

/** `Helper` of queue-xec's Master. */
export class Helper extends Times {
  /** The SHA-256 of a file in hexadecimal; rejects with `File not found`. */
  static async getSha256(file: string): Promise<string> {
    if (!existsSync(file)) throw new Error('File not found');
    return sha256(file);
  }
}

/** `Helper` of queue-xec's Worker, where a hash is there at once. */
export class WorkerHelper extends Times {
  /** The SHA-256 of a file in hexadecimal; throws if it cannot be read. */
  static getSha256(file: string): string {
    return sha256(file);
  }

  /** Gives each entry the hash of its `workerPath` below the working directory; the same list. */
  static populateSha256OnAssets<T extends WireAsset>(assets: readonly T[]): readonly T[] {
    for (const asset of assets) {
      if (typeof asset?.workerPath !== 'string') throw new QueueXecError('queue-xec-assets', 'an entry has no workerPath');
      asset.sha256 = sha256(join(process.cwd(), asset.workerPath));
    }
    return assets;
  }
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
