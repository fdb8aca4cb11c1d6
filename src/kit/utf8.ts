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
  const at = firstInvalid(bytes);
  const byte = (bytes[at] ?? 0).toString(16).padStart(2, '0');
  return `not UTF-8: byte 0x${byte} at offset ${at}`;
}

/** Binary search: a prefix is valid if it decodes as the beginning of a text. */
function firstInvalid(bytes: Uint8Array): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >>> 1;
    if (isPrefix(bytes.subarray(0, middle))) valid = middle;
    else invalid = middle;
  }
  // Reports the start of the incomplete character, which is at most four bytes long.
  for (let at = valid; at > valid - 4 && at >= 0; at -= 1) if (isPrefix(bytes.subarray(0, at), false)) return at;
  return valid;
}

function isPrefix(bytes: Uint8Array, stream = true): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream });
    return true;
  } catch {
    return false;
  }
}
