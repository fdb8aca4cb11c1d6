/** Measures the NAT matrix and writes docs/nat-matrix.md: `node build/test/lab/write-nat-matrix.js`, as root. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Cell, formatMatrix, measureMatrix, medianMs, needsRelay } from './nat-matrix.js';

const target = fileURLToPath(new URL('../../../docs/nat-matrix.md', import.meta.url));
const cells = await measureMatrix(({ master, worker, path, connectMs, sinceStartMs, warnings }) =>
  process.stderr.write(
    `${master} ${worker} ${path ?? 'no path'} ${connectMs} ms, ${Math.round(sinceStartMs)} ms in all ${warnings.join('; ')}\n`,
  ),
);
const direct = cells.filter(({ master, worker }) => !needsRelay(master, worker));
const relayed = cells.filter((cell) => !direct.includes(cell));
const count = (some: readonly Cell[], of: (cell: Cell) => boolean) => some.filter(of).length;
const connected = cells.filter((cell) => cell.path !== undefined);

writeFileSync(
  target,
  `# Which routers connect, and how

A Master and a Worker, each behind its own router, with a tracker, STUN and TURN on a simulated internet (network
namespaces, nftables, coturn; the lab is \`test/lab/nat-lab.ts\`). Rows are the Master's router, columns the Worker's. A number
is the milliseconds from the Worker's offer, by way of the tracker, to the end of the handshake; it includes finding out
whether UDP gets out. \`R\` means that the packets go through the relay, \`×n\` that it took n attempts. Round trips in the lab
take well under a millisecond: add about six of your own.

${formatMatrix(cells)}

- ${connected.length} of ${cells.length} pairs connect, ${count(connected, (cell) => cell.warnings.length === 0)} of them at the first attempt.
- Where no relay is needed the median is ${medianMs(direct, 'connectMs')} ms (${medianMs(direct, 'sinceStartMs')} ms since the Worker was made); ${count(direct, (cell) => cell.path === 'direct')} of ${direct.length} end up
  direct. ${count(direct, (cell) => cell.openedPath === 'relay' && cell.path === 'direct')} of these opened through the relay and moved to the direct path within 2.5 s, without a pause.
- Through a relay the median is ${medianMs(relayed, 'connectMs')} ms (${medianMs(relayed, 'sinceStartMs')} ms since the Worker was made).

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
within 0.6 s while one over TCP does (or within 1 s in any case), it uses TURN over TCP or TLS only.

Measured with Node ${process.versions.node} on ${process.platform}-${process.arch}. To measure again, as root:
\`npm run build && node build/test/lab/write-nat-matrix.js\`. \`npm test\` measures the same and fails if a pair does not connect.
`,
);
