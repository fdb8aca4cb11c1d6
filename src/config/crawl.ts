import { option } from './option.js';
import { anyText, wholeNumber } from './values.js';

/** Options of crawls and their image. */
export const crawlOptions = {
  crawlContainers: option<number, undefined>({
    flag: '--crawl-containers <number>',
    env: 'PEERWORK_CRAWL_CONTAINERS',
    commands: ['worker'],
    meaning: 'How many containers one crawl may start here.',
    allowed: 'a whole number from 1 to 1000',
    unit: 'containers',
    default: undefined,
    defaultText: '8',
    parse: wholeNumber(1, 1_000),
  }),
  imageBase: option<string, 'auto'>({
    flag: '--base <image>',
    env: 'PEERWORK_IMAGE_BASE',
    commands: ['image'],
    meaning:
      'What the image is built on: an image with Node 20; host for the Node of this machine; auto for node:20-slim where it is already, else host where it can be run, else node:20-slim pulled.',
    allowed: 'auto, host, or the name of an image',
    default: 'auto',
    parse: anyText,
  }),
  imageTags: option<readonly string[], undefined>({
    flag: '--tag <name>',
    commands: ['image'],
    meaning: 'One more name for the image.',
    allowed: 'names of images',
    default: undefined,
    many: true,
    parse: (given) => given,
  }),
} as const;
