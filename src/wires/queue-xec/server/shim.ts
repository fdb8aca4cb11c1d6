import { PUSHED } from '../../../job/pushed.js';

/** Location of a task among the files of a bundle. */
export interface ShimTask {
  readonly folder: string;
  readonly entry: string;
}

/**
 * Returns the `task.js` that queue-xec Workers get in place of ours. It loads the task of a job's channel, whatever its form, and turns any
 * result into a reply: a queue-xec Worker exits when a task rejects, and waits forever when it returns a plain value. It runs on their
 * Node, so it is plain CommonJS and uses nothing newer than Node 14.
 */
export function shimText(tasks: Readonly<Record<string, ShimTask>>): string {
  return `'use strict';
// Made by peerwork: calls the task of a job's channel and answers what became of it.
const path = require('path');
const { pathToFileURL } = require('url');
const tasks = ${JSON.stringify(tasks)};
const pushed = ${JSON.stringify(PUSHED)};
const loaded = {};

const hasRun = (value) => typeof value === 'object' && value !== null && typeof value.run === 'function';

function callable(exported) {
  if (typeof exported === 'function') {
    if (exported.prototype && typeof exported.prototype.run === 'function') {
      const instance = new exported();
      return (given, context) => instance.run(given.job, context);
    }
    return (given, context) => exported(given.data, context);
  }
  return hasRun(exported) ? (given, context) => exported.run(given.job, context) : undefined;
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// A job that was pushed as with queue-xec is what was pushed, and has our fields only where it has none of that name.
function givenOf(job) {
  const { data } = job;
  if (!isObject(data) || Object.keys(data).join() !== pushed) return { job, data };
  const payload = data[pushed];
  if (!isObject(payload)) return { job: payload, data: payload };
  const { id, channel, attempt, parents } = job;
  return { job: { id, channel, attempt, parents, ...payload }, data: 'data' in payload ? payload.data : payload };
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
  const output = await task(givenOf({ id, channel, data, attempt, parents }), context);
  return output === undefined ? null : output;
}

// What this Master hands out; all else a Worker runs by itself, and its task is the first.
const isHandedOut = (job) =>
  isObject(job) && isObject(job.data) && (job.data.hello === true || ('channel' in job.data && 'attempt' in job.data && 'parents' in job.data));

module.exports = class Task {
  async run(job) {
    if (!isHandedOut(job)) {
      const id = String(isObject(job) ? job.id : job);
      return perform({ id, channel: Object.keys(tasks)[0], data: { [pushed]: job }, attempt: 1, parents: [] }, {});
    }
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
