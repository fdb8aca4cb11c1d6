#!/usr/bin/env node
// The name under which units and scripts know dory-worker: the same as `peerwork dory`.
process.argv.splice(2, 0, 'dory');
await import('./peerwork.js');
