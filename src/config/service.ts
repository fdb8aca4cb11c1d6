import { option } from './option.js';
import { oneOf, single } from './values.js';

/** What can keep a Worker running: see docs/service.md. */
export const keeperKinds = ['systemd-user', 'systemd-system', 'launchd', 'background'] as const;
export type KeeperKind = (typeof keeperKinds)[number];

/** Options of the commands about a Worker that is kept running. */
export const serviceOptions = {
  serviceName: option<string, 'peerwork'>({
    flag: '--service-name <name>',
    env: 'PEERWORK_SERVICE_NAME',
    commands: ['health', 'start-bg', 'status', 'logs', 'restart', 'stop', 'update', 'uninstall'],
    meaning: 'What the service of this Worker is called. Several Workers on one machine need a name each.',
    allowed: '1 to 40 of a-z, 0-9 and -',
    default: 'peerwork',
    parse: single((text) => (/^[a-z0-9][a-z0-9-]{0,39}$/.test(text) ? text : undefined)),
  }),
  keeper: option<KeeperKind | 'auto', 'auto'>({
    flag: '--keeper <which>',
    env: 'PEERWORK_KEEPER',
    commands: ['start-bg'],
    meaning:
      'What keeps the Worker running: systemd or launchd where they are, else a supervisor of our own, which does not outlive a reboot.',
    allowed: `one of auto, ${keeperKinds.join(', ')}`,
    default: 'auto',
    parse: oneOf(['auto', ...keeperKinds]),
  }),
} as const;
