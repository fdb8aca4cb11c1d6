import { crew } from '../wires/crew/wire.js';
import { dory } from '../wires/dory/wire.js';
import { openfn } from '../wires/openfn/wire.js';
import { queueXec } from '../wires/queue-xec/wire.js';
import type { Wire } from '../wires/wire.js';
import { worqr } from '../wires/worqr/wire.js';

/** The one list of foreign systems that peerwork supports. */
const list = [queueXec, dory, worqr, crew, openfn] as const;

type Both<U> = (U extends unknown ? (one: U) => void : never) extends (all: infer I) => void ? I : never;
/** The option tables of all wires, merged. */
export type WireOptionTables = Both<(typeof list)[number]['options']>;

export const wires: readonly Wire[] = list;

/** Names other than its own by which peerwork can be called. */
export const programNames: readonly string[] = wires.flatMap(({ program }) => program?.name ?? []);
