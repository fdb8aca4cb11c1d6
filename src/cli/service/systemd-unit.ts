import type { ServicePlan } from './keeper.js';
import { STOP_GRACE_MS } from './supervisor.js';

/** The first line of a unit. */
export const MADE_BY = '# Written by `peerwork start-bg`, which overwrites it';

/** systemd's own words for a string that holds blanks, quotes, percent or dollar signs; `%` and `$` would be expanded. */
export function quoteUnit(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('\n', '\\n');
  return /^[\w./:@=,+-]+$/.test(text) ? text : `"${escaped}"`;
}

/**
 * The unit of a Worker. Hardening is what neither docker, podman nor bubblewrap, which the Worker starts, would break of:
 * - Nothing that filters system calls or sets NoNewPrivileges (that comes with every filter where the service is not root's): rootless
 *   podman and a setuid bubblewrap need their setuid helpers, bubblewrap sets a host name and mounts.
 * - Nothing that hides a part of /proc (ProtectKernelTunables, ProtectKernelLogs, ProtectProc): the kernel then refuses bubblewrap a
 *   /proc of its own. No PrivateTmp: docker mounts folders by the names that they have outside.
 * - In a user's service no file system protection at all: it would need a user namespace around everything.
 * The isolation of the jobs is the Worker's own work (docs/isolation.md).
 */
export function systemdUnit(plan: ServicePlan, command: readonly string[], { system }: { readonly system: boolean }): string {
  const { name, folder, env, drainMs, user } = plan;
  const isRoot = system && (user === undefined || user.uid === 0);
  return [
    `${MADE_BY}; \`peerwork uninstall\` removes it. Changes belong into a drop-in:`,
    `# systemctl${system ? '' : ' --user'} edit ${name}`,
    '[Unit]',
    `Description=peerwork worker in ${folder.replaceAll('%', '%%').replaceAll('\n', ' ')}`,
    ...(system ? ['Wants=network-online.target', 'After=network-online.target docker.service podman.socket redis-server.service'] : []),
    '# Restarted without limit: a router may be down for longer than any limit.',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=exec',
    ...(system && user !== undefined && user.uid !== 0 ? [`User=${user.uid}`, `Group=${user.gid}`] : []),
    `WorkingDirectory=${folder.replaceAll('%', '%%')}`,
    '# Not by EnvironmentFile: systemd parses quotes in .env differently, and shows the token to anyone who asks.',
    `ExecStart=${command.map((word) => quoteUnit(word).replaceAll('$', '$$$$')).join(' ')}`,
    ...Object.entries(env).map(([key, value]) => `Environment=${quoteUnit(`${key}=${value}`)}`),
    'Restart=always',
    'RestartSec=10',
    '# The Worker gets the signal and passes it to its jobs; what is left after the timeout is killed.',
    'KillMode=mixed',
    `TimeoutStopSec=${Math.ceil((drainMs + STOP_GRACE_MS) / 1_000)}`,
    '# A job that took too much memory is the end of that job, not of the Worker.',
    'OOMPolicy=continue',
    'OOMScoreAdjust=200',
    'LimitNOFILE=65536',
    'LimitCORE=0',
    'UMask=0077',
    ...(system ? ['ProtectSystem=full'] : []),
    ...(isRoot
      ? [
          'CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_RAWIO CAP_SYSLOG CAP_AUDIT_CONTROL CAP_MAC_ADMIN CAP_WAKE_ALARM',
        ]
      : []),
    '',
    '[Install]',
    `WantedBy=${system ? 'multi-user.target' : 'default.target'}`,
    '',
  ].join('\n');
}
