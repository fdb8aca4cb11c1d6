import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';

/** Two hosts (network namespaces `a` and `b`) connected by a cable that can be cut. Needs root and iproute2. */
export class Cable {
  readonly #name = `pw${randomBytes(3).toString('hex')}`;

  constructor() {
    for (const side of ['a', 'b'] as const) {
      ip('netns', 'add', this.#host(side));
      this.#in(side, 'link', 'set', 'lo', 'up');
    }
    ip('link', 'add', 'eth0', 'netns', this.#host('a'), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.#host('b'));
    for (const side of ['a', 'b'] as const) {
      this.#in(side, 'addr', 'add', `${this.address(side)}/24`, 'dev', 'eth0');
      this.#in(side, 'link', 'set', 'eth0', 'up');
    }
  }

  address(side: 'a' | 'b'): string {
    return side === 'a' ? '10.77.0.1' : '10.77.0.2';
  }

  /** Command prefix that runs a program on that host. */
  inside(side: 'a' | 'b'): string[] {
    return ['ip', 'netns', 'exec', this.#host(side)];
  }

  cut(): void {
    this.#in('b', 'link', 'set', 'eth0', 'down');
  }

  mend(): void {
    this.#in('b', 'link', 'set', 'eth0', 'up');
  }

  close(): void {
    for (const side of ['a', 'b'] as const) ip('netns', 'delete', this.#host(side));
  }

  #host(side: 'a' | 'b'): string {
    return `${this.#name}-${side}`;
  }

  #in(side: 'a' | 'b', ...args: string[]): void {
    ip('-n', this.#host(side), ...args);
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
