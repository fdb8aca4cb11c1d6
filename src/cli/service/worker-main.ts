/** The command line as a child of a supervisor: it drains, as after `kill`, when the supervisor is gone. */
import { main } from '../main.js';

process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
process.channel?.unref();
// Nobody reads its output any more then; that must not end it before its jobs.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

process.exitCode = await main(process.argv.slice(2));
// As in bin/peerwork.js.
setTimeout(() => process.exit(), 2_000).unref();
