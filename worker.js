// `node worker.js --setup` asks, `node worker.js` works: the same as `peerwork worker`.
process.argv.splice(2, 0, 'worker');
await import('./bin/peerwork.js');
