import { connect } from 'node:net';
import { text } from 'node:stream/consumers';

export default async (_data, { tunnel }) => (await text(connect(tunnel))).trim();
