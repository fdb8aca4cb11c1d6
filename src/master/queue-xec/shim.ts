/** Where a task lies among the files that a Worker is given. */
export interface ShimTask {
  readonly folder: string;
  readonly entry: string;
}

/**
 * The `task.js` that queue-xec Workers are given in place of ours. It finds the task of a job's channel, whatever form it has, and turns
 * whatever happens into an answer: a Worker of queue-xec ends when a task rejects, and waits for ever when it returns a plain value.
 * It runs on their Node, so it is plain CommonJS without anything newer than Node 14.
 */
export function shimText(tasks: Readonly<Record<string, ShimTask>>): string {
  return `'use strict';
// Made by peerwork: calls the task of a job's channel and answers what became of it.
const path = require('path');
const { pathToFileURL } = require('url');
const tasks = ${JSON.stringify(tasks)};
const loaded = {};

const hasRun = (value) => typeof value === 'object' && value !== null && typeof value.run === 'function';

function callable(exported) {
  if (typeof exported === 'function') {
    if (exported.prototype && typeof exported.prototype.run === 'function') {
      const instance = new exported();
      return (job, context) => instance.run(job, context);
    }
    return (job, context) => exported(job.data, context);
  }
  return hasRun(exported) ? (job, context) => exported.run(job, context) : undefined;
}

async function load({ folder, entry }) {
  const found = await import(pathToFileURL(path.join(__dirname, folder, entry)).href);
  const inner = found.default && (found.default.default || found.default.Task);
  const task = callable(found.default) || callable(inner) || callable(found.Task);
  if (!task) throw new TypeError('the task must export a function, or a class with a method run(job), as its default');
  return task;
}

async function perform({ id, channel, data, attempt, parents }, answer) {
  if (!Object.prototype.hasOwnProperty.call(tasks, channel)) throw new Error('no task serves the channel ' + channel);
  if (!loaded[channel]) {
    loaded[channel] = load(tasks[channel]);
    loaded[channel].catch(() => delete loaded[channel]);
  }
  const task = await loaded[channel];
  const context = {
    jobId: id, attempt, parents,
    workdir: process.cwd(),
    signal: typeof AbortController === 'undefined' ? undefined : new AbortController().signal,
    progress() {},
    log: console.log,
    spawn(...children) { answer.children = (answer.children || []).concat(children.flat()); },
    delayChildren(ms) { answer.childrenDelayMs = Math.ceil(ms); },
    hold(ms) { answer.holdMs = Math.max(answer.holdMs || 0, Math.ceil(ms)); },
  };
  const output = await task({ id, channel, data, attempt, parents }, context);
  return output === undefined ? null : output;
}

module.exports = class Task {
  async run(job) {
    const answer = { peerwork: 1 };
    try {
      if (job.data.hello) return answer;
      answer.output = await perform(job.data, answer);
      // What is no JSON must fail here, not in the Worker.
      return JSON.parse(JSON.stringify(answer));
    } catch (error) {
      const message = String((error && error.stack) || error);
      return { peerwork: 1, error: { message: message.slice(0, 8000) }, ...(answer.holdMs ? { holdMs: answer.holdMs } : {}) };
    }
  }
};
`;
}
