import type { ServicePlan } from './keeper.js';
import { STOP_GRACE_MS } from './supervisor.js';

/** First line of every unit that we write. */
export const MADE_BY = '# Written by `peerwork start-bg`, which overwrites it';

/** Quotes a string for a unit if it contains blanks, quotes, percent or dollar signs; systemd would expand `%` and `$`. */
export function quoteUnit(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('\n', '\\n');
  return /^[\w./:@=,+-]+$/.test(text) ? text : `"${escaped}"`;
}

/**
 * Returns the unit of a Worker. It hardens only what does not break docker, podman or bubblewrap, which the Worker starts:
 * - Nothing that filters system calls or sets NoNewPrivileges (implied by every filter unless the service runs as root): rootless podman
 *   and a setuid bubblewrap need their setuid helpers, and bubblewrap sets a host name and mounts.
 * - Nothing that hides a part of /proc (ProtectKernelTunables, ProtectKernelLogs, ProtectProc): the kernel then refuses bubblewrap a
 *   /proc of its own. No PrivateTmp: docker mounts folders by the names that they have outside.
 * - No file system protection at all in a user's service: it would need a user namespace around everything.
 * Isolating jobs is the Worker's own responsibility (docs/isolation.md).
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
