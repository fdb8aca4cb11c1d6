const strict = new TextDecoder('utf-8', { fatal: true });

/** Decodes bytes without a byte order mark, or describes why they are not UTF-8. */
export function textOrFault(
  bytes: Uint8Array,
): { readonly text: string; readonly fault?: never } | { readonly fault: string; readonly text?: never } {
  try {
    return { text: strict.decode(bytes) };
  } catch {
    return { fault: notUtf8(bytes) };
  }
}

/** Describes bytes that are not UTF-8: what they seem to be, or the offset of the first invalid byte, counted from 0. */
export function notUtf8(bytes: Uint8Array): string {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) return 'it is UTF-16: save it as UTF-8';
  const at = firstWrong(bytes);
  const byte = (bytes[at] ?? 0).toString(16).padStart(2, '0');
  return `not UTF-8: byte 0x${byte} at offset ${at}`;
}

/** Binary search: a prefix is valid if it decodes as the beginning of a text. */
function firstWrong(bytes: Uint8Array): number {
  let right = 0;
  let wrong = bytes.length;
  while (wrong - right > 1) {
    const middle = (right + wrong) >>> 1;
    if (isBeginning(bytes.subarray(0, middle))) right = middle;
    else wrong = middle;
  }
  // Reports the start of the incomplete character, which is at most four bytes long.
  for (let at = right; at > right - 4 && at >= 0; at -= 1) if (isBeginning(bytes.subarray(0, at), false)) return at;
  return right;
}

function isBeginning(bytes: Uint8Array, stream = true): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream });
    return true;
  } catch {
    return false;
  }
}
