import { readFileSync } from 'node:fs';
import { LOCAL_JSON, parseJson } from './kit/json.js';

/** The version of this package, such as `0.1.0`. */
export const version: string = (
  parseJson(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'), LOCAL_JSON) as { version: string }
).version;
