export interface PlistPlan {
  readonly label: string;
  readonly command: readonly string[];
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Seconds between SIGTERM and SIGKILL. */
  readonly exitSeconds: number;
  /** Where what the supervisor itself cannot log would go. */
  readonly errorFile: string;
}

/** The property list of a launchd agent: started with the log-in (or the machine, for root), again 10 s after it ended. */
export function launchdPlist({ label, command, folder, env, exitSeconds, errorFile }: PlistPlan): string {
  const entries = Object.entries(env).map(([key, value]) => `    <key>${escapeXml(key)}</key>\n    ${string(value)}`);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">',
    '<plist version="1.0">',
    '<dict>',
    `  <key>Label</key>\n  ${string(label)}`,
    '  <key>ProgramArguments</key>',
    `  <array>\n${command.map((word) => `    ${string(word)}`).join('\n')}\n  </array>`,
    `  <key>WorkingDirectory</key>\n  ${string(folder)}`,
    `  <key>EnvironmentVariables</key>\n  <dict>\n${entries.join('\n')}\n  </dict>`,
    '  <key>RunAtLoad</key>\n  <true/>',
    '  <key>KeepAlive</key>\n  <true/>',
    '  <key>ThrottleInterval</key>\n  <integer>10</integer>',
    `  <key>ExitTimeOut</key>\n  <integer>${exitSeconds}</integer>`,
    '  <key>ProcessType</key>\n  <string>Standard</string>',
    // 077, in decimal: launchd reads no octal.
    '  <key>Umask</key>\n  <integer>63</integer>',
    `  <key>StandardErrorPath</key>\n  ${string(errorFile)}`,
    '</dict>',
    '</plist>',
    '',
  ].join('\n');
}

function string(text: string): string {
  return `<string>${escapeXml(text)}</string>`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
