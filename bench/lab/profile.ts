import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const SHOWN = 25;

/** For each CPU profile in the folder: the functions that took most time themselves, as shares of the time that was not idle. */
export function printProfiles(folder: string): void {
  for (const name of readdirSync(folder)
    .filter((file) => file.endsWith('.cpuprofile'))
    .sort()) {
    const profile = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Profile;
    const labels = new Map(profile.nodes.map(({ id, callFrame }) => [id, labelOf(callFrame)]));
    const selfUs = new Map<string, number>();
    let busyUs = 0;
    for (const [index, sample] of profile.samples.entries()) {
      const label = labels.get(sample) ?? '?';
      if (label === '(idle)' || label === '(root)') continue;
      const deltaUs = profile.timeDeltas[index] ?? 0;
      busyUs += deltaUs;
      selfUs.set(label, (selfUs.get(label) ?? 0) + deltaUs);
    }
    console.log(`\n${name}: ${(busyUs / 1e6).toFixed(2)} s busy`);
    const top = [...selfUs].sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
    for (const [label, us] of top)
      console.log(`  ${((us / busyUs) * 100).toFixed(1).padStart(5)} %  ${(us / 1e3).toFixed(0).padStart(6)} ms  ${label}`);
  }
}

function labelOf({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)';
  if (url === '') return name;
  const path = url
    .replace(/^file:\/\//, '')
    .split(sep)
    .slice(-3)
    .join('/');
  return `${name} ${path}:${lineNumber + 1}`;
}
