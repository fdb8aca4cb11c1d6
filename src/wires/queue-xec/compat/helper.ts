import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QueueXecError } from '../errors.js';
import type { WireAsset } from './wire-asset.js';

const twoDigits = (value: number) => String(value).padStart(2, '0');

/** Helpers shared by both sides of queue-xec. */
// biome-ignore lint/complexity/noStaticOnlyClass: programs of queue-xec call static methods.
class Times {
  /** Formats an instant in milliseconds since the epoch as `DD-MM HH:mm:ss` in local time. */
  static LocalTime(timestamp: number): string {
    const at = new Date(timestamp);
    return `${twoDigits(at.getDate())}-${twoDigits(at.getMonth() + 1)} ${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}:${twoDigits(at.getSeconds())}`;
  }

  static sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** Milliseconds since the epoch. */
  static getTimestamp(): number {
    return Date.now();
  }

  /** Returns the milliseconds since `started`, or -1 without it. The misspelt name is queue-xec's. */
  static mesurePerf(started?: number): number {
    return started ? Times.getTimestamp() - started : -1;
  }
}

/** `Helper` of queue-xec's Master. */
export class Helper extends Times {
  /** Returns the SHA-256 of a file in hexadecimal; rejects with `File not found`. */
  static async getSha256(file: string): Promise<string> {
    if (!existsSync(file)) throw new Error('File not found');
    return sha256(file);
  }
}

/** `Helper` of queue-xec's Worker, whose hash function is synchronous. */
export class WorkerHelper extends Times {
  /** Returns the SHA-256 of a file in hexadecimal; throws if it cannot be read. */
  static getSha256(file: string): string {
    return sha256(file);
  }

  /** Sets the hash of each entry's `workerPath` below the working directory, and returns the same list. */
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
