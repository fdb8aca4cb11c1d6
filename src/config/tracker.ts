import { option } from './option.js';
import { anyText, wholeNumber } from './values.js';

/** Options of trackers. */
export const trackerOptions = {
  trackerHost: option<string, '0.0.0.0'>({
    flag: '--host <address>',
    env: 'PEERWORK_TRACKER_HOST',
    commands: ['tracker'],
    meaning: 'The address that the tracker listens on.',
    allowed: 'an address of this machine',
    default: '0.0.0.0',
    parse: anyText,
  }),
  trackerPort: option<number, 8000>({
    flag: '--port <number>',
    env: 'PEERWORK_TRACKER_PORT',
    commands: ['tracker'],
    meaning: 'The port that the tracker listens on; 0 takes a free one.',
    allowed: 'a whole number from 0 to 65535',
    default: 8000,
    parse: wholeNumber(0, 65_535),
  }),
} as const;
