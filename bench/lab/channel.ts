import type { ChannelVerbs } from './channel-process.js';
import type { Child, Lab } from './lab.js';

/** Two processes with a bare data channel between them: what our links are held against. */
export class BareChannel {
  readonly #from: Child<ChannelVerbs>;
  readonly #to: Child<ChannelVerbs>;

  private constructor(from: Child<ChannelVerbs>, to: Child<ChannelVerbs>) {
    this.#from = from;
    this.#to = to;
  }

  static async open(lab: Lab): Promise<BareChannel> {
    const from = lab.start<ChannelVerbs>('channel-process');
    const to = lab.start<ChannelVerbs>('channel-process');
    await from.ask('accept', await to.ask('answer', await from.ask('offer', undefined)));
    await Promise.all([from.ask('open', undefined), to.ask('open', undefined)]);
    return new BareChannel(from, to);
  }

  /** Milliseconds each. */
  roundTrips(count: number, pauseMs: number): Promise<number[]> {
    return this.#from.ask('roundTrips', { count, pauseMs });
  }

  /** Milliseconds from the first byte's leaving to the last one's arrival. */
  async transfer(bytes: number): Promise<number> {
    const arrived = this.#to.ask('expect', { bytes });
    const startedAt = await this.#from.ask('send', { bytes });
    return (await arrived) - startedAt;
  }
}
