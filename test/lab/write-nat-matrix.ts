/** Measures the NAT matrix and writes docs/nat-matrix.md: `node build/test/lab/write-nat-matrix.js`, as root. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Cell, formatMatrix, measureMatrix, median, needsRelay } from './nat-matrix.js';

const target = fileURLToPath(new URL('../../../docs/nat-matrix.md', import.meta.url));
const cells = await measureMatrix((cell) =>
  process.stderr.write(`${cell.a} ${cell.b} ${cell.path ?? 'no path'} ${Math.round(cell.openMs)} ms\n`),
);
const openMs = (some: readonly Cell[]) => Math.round(median(some.filter((cell) => cell.path !== undefined).map((cell) => cell.openMs)));
const direct = cells.filter((cell) => !needsRelay(cell.a, cell.b));
const relayed = cells.filter((cell) => needsRelay(cell.a, cell.b));
const count = (some: readonly Cell[], of: (cell: Cell) => boolean) => some.filter(of).length;

writeFileSync(
  target,
  `# Which routers connect, and how

Two peers, each behind its own router, with STUN and TURN on a simulated internet (network namespaces, nftables, coturn; the
lab is \`test/lab/nat-lab.ts\`). Rows make the offer, columns answer it. A number is the milliseconds from the offer until
both sides are open, through signalling that costs nothing; \`R\` means that the packets go through the relay, \`×n\` that it
took n attempts. Round trips in the lab take well under a millisecond: add about four of your own.

${formatMatrix(cells)}

- ${count(cells, (cell) => cell.path !== undefined)} of ${cells.length} pairs connect, ${count(cells, (cell) => cell.attempts === 1 && cell.path !== undefined)} of them at the first attempt.
- Where no relay is needed the median is ${openMs(direct)} ms; ${count(direct, (cell) => cell.path === 'direct')} of ${direct.length} end up direct. ${count(direct, (cell) => cell.openedPath === 'relay' && cell.path === 'direct')} of these opened through
  the relay and moved to the direct path within 2.5 s, without a pause.
- Through a relay the median is ${openMs(relayed)} ms.

| router | mapping and filtering (RFC 4787) |
| --- | --- |
| none | no NAT, no firewall |
| fullcone | endpoint-independent mapping and filtering |
| addr | endpoint-independent mapping, address-dependent filtering |
| port | endpoint-independent mapping, address-and-port-dependent filtering: the ordinary home router |
| sym | a new random port for each destination |
| udpblock | as \`port\`, but no UDP: TURN over TCP or TLS |
| web | as \`udpblock\`, and TCP only to the ports 80 and 443: TURN over TCP or TLS on 443 |
| cgn | a \`port\` home router behind a carrier's \`sym\` router |

A peer finds out by itself whether UDP gets out: it asks the STUN and TURN servers when it starts, and where none answers
within a second it uses TURN over TCP or TLS only.

Measured with Node ${process.versions.node} on ${process.platform}-${process.arch}. To measure again, as root:
\`npm run build && node build/test/lab/write-nat-matrix.js\`. \`npm test\` measures the same and fails if a pair does not connect.
`,
);
