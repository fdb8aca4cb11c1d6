/** Edits of a source text, kept separately from it so that each part of the result has a known origin. */
export class Edits {
  readonly #source: string;
  readonly #edits: { readonly start: number; readonly end: number; readonly text: string; readonly order: number }[] = [];

  constructor(source: string) {
    this.#source = source;
  }

  insert(at: number, text: string): void {
    this.replace(at, at, text);
  }

  replace(start: number, end: number, text: string): void {
    this.#edits.push({ start, end, text, order: this.#edits.length });
  }

  /** Returns a range of the edited source. `ends` decides whether insertions exactly at its ends belong to it or to its neighbours. */
  part(start: number, end: number, ends: 'own' | 'neighbours'): Part[] {
    const parts: Part[] = [];
    let at = start;
    const within = this.#edits.filter(
      (edit) => edit.start >= start && edit.end <= end && (ends === 'own' || (edit.end > start && edit.start < end)),
    );
    for (const edit of within.sort((a, b) => a.start - b.start || a.end - b.end || a.order - b.order)) {
      if (edit.start > at) parts.push({ text: this.#source.slice(at, edit.start), from: at });
      parts.push({ text: edit.text, from: edit.start });
      at = Math.max(at, edit.end);
    }
    if (at < end) parts.push({ text: this.#source.slice(at, end), from: at });
    return parts;
  }
}

/** Text with its offset in the source; undefined if it has none. */
export interface Part {
  readonly text: string;
  readonly from?: number;
}

/** Returns the `mappings` of a source map (version 3), with a segment for each word and line that came from the source. */
export function mappingsOf(parts: readonly Part[], source: string): string {
  const lineStarts = [0, ...[...source.matchAll(/\n/g)].map(({ index }) => index + 1)];
  let last = { column: 0, line: 0, sourceColumn: 0 };
  let mappings = '';
  let column = 0;
  let firstOfLine = true;
  const add = (offset: number) => {
    const at = lineAt(lineStarts, offset);
    const sourceColumn = offset - (lineStarts[at] ?? 0);
    const fields = [column - last.column, 0, at - last.line, sourceColumn - last.sourceColumn];
    mappings += `${firstOfLine ? '' : ','}${fields.map(vlq).join('')}`;
    last = { column, line: at, sourceColumn };
    firstOfLine = false;
  };
  for (const { text, from } of parts) {
    for (const [at, char] of text.split('').entries()) {
      const starts = at === 0 || (/[\w$]/.test(char) && !/[\w$]/.test(text[at - 1] ?? ''));
      if (from !== undefined && starts && char !== '\n') add(Math.min(from + at, source.length));
      if (char === '\n') {
        mappings += ';';
        column = 0;
        last = { ...last, column: 0 };
        firstOfLine = true;
      } else column += 1;
    }
  }
  return mappings;
}

function lineAt(lineStarts: readonly number[], offset: number): number {
  let [low, high] = [0, lineStarts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((lineStarts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function vlq(value: number): string {
  let rest = value < 0 ? (-value << 1) | 1 : value << 1;
  let text = '';
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += digits[rest > 0 ? digit | 32 : digit];
  } while (rest > 0);
  return text;
}

export function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}
