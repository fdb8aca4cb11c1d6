import { type FileHandle, open } from 'node:fs/promises';

const NEWLINE = 0x0a;

/** An append-only file of lines. A truncated line of an earlier write, in this process or a previous one, does not affect later lines. */
export class AppendFile {
  readonly #file: FileHandle;
  #torn: boolean;

  private constructor(file: FileHandle, torn: boolean) {
    this.#file = file;
    this.#torn = torn;
  }

  static async open(path: string): Promise<AppendFile> {
    const file = await open(path, 'a+');
    const { size } = await file.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    return new AppendFile(file, size > 0 && last[0] !== NEWLINE);
  }

  async append(lines: readonly string[]): Promise<void> {
    const block = `${this.#torn ? '\n' : ''}${lines.join('\n')}\n`;
    this.#torn = true;
    await this.#file.appendFile(block);
    this.#torn = false;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
