import { type Attack, expectedOf, type Group, type Tier, tiers, type Verdict } from './attack.js';
import { jobAttacks } from './job-attacks.js';
import { machineAttacks } from './machine-attacks.js';
import { networkAttacks } from './network-attacks.js';

export const allAttacks: readonly Attack[] = [...networkAttacks, ...machineAttacks, ...jobAttacks];

const words: Readonly<Record<Verdict, string>> = { held: 'held', open: 'open', root: 'held if root', 'n/a': '–' };

/** The table of docs/isolation.md: attack × tier, of what is documented or of what was seen. */
export function attackTable(verdictOf: (attack: Attack, tier: Tier) => Verdict = expectedOf): string {
  const groups = [...new Set(allAttacks.map(({ group }) => group))];
  return groups.map((group) => groupTable(group, verdictOf)).join('\n\n');
}

function groupTable(group: Group, verdictOf: (attack: Attack, tier: Tier) => Verdict): string {
  const attacks = allAttacks.filter((attack) => attack.group === group);
  const rows = attacks.map((attack) => [attack.name, ...tiers.map((tier) => words[verdictOf(attack, tier)])]);
  const heading = [`${group} (${attacks.length})`, ...tiers];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}
