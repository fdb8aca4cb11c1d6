/**
 * What is done in Redis, each in one piece: a script sees the keys as no peer can change them meanwhile, and a lost claim is told from a
 * held one. `P` is worqr's prefix, `S` that of our own keys beside them:
 *
 * - `S:tried:Q:hash`, a count: runs of a task that failed or died, forgotten a day after the last.
 *
 * worqr does not write down who holds a process. Ours say it themselves: `Q_W.n` is the n-th of the worker W.
 *
 * The scripts name keys that they are not given (not for Redis Cluster, which worqr's own transactions do not work on either).
 */
const KEYS = `
local P, S = ARGV[1], ARGV[2]
local function key(kind, name) return P .. ':' .. kind .. ':' .. name end
local function tried(queue, task) return S .. ':tried:' .. queue .. ':' .. redis.sha1hex(task) end
`;

const TRACK = `${KEYS}
local function queueOf(process) return string.match(process, '^(.*)_') or '' end
local function untrack(process) redis.call('SREM', key('workingProcesses', queueOf(process)), process) end
`;

const RETURN = `${TRACK}
local function giveBack(process, front, charge)
  local queue = queueOf(process)
  local task = redis.call('RPOP', key('processes', process))
  untrack(process)
  if not task then return 0 end
  redis.call(front and 'RPUSH' or 'LPUSH', key('queues', queue), task)
  if charge then
    redis.call('INCR', tried(queue, task))
    redis.call('EXPIRE', tried(queue, task), 86400)
  end
  redis.call('PUBLISH', P .. '_' .. queue .. '_work', redis.call('LLEN', key('queues', queue)))
  return 1
end
local function leave(worker)
  redis.call('SREM', P .. ':workers', worker)
  redis.call('SREM', P .. ':expiringWorkers', worker)
  redis.call('DEL', key('workerTimers', worker), key('workingQueues', worker))
end
local function startsAfter(queue, process, text) return string.sub(process, #queue + 2, #queue + 1 + #text) == text end
local function giveBackAllOf(worker, front, charge)
  local back = 0
  for _, queue in ipairs(redis.call('SMEMBERS', key('workingQueues', worker))) do
    for _, process in ipairs(redis.call('SMEMBERS', key('workingProcesses', queue))) do
      if startsAfter(queue, process, worker .. '.') then back = back + giveBack(process, front, charge) end
    end
  end
  return back
end
`;

/** W, timeout in ms, then queues. */
const register = `${KEYS}
local W = ARGV[3]
redis.call('SADD', P .. ':workers', W)
redis.call('SADD', P .. ':expiringWorkers', W)
redis.call('SET', key('workerTimers', W), 'RUN', 'PX', ARGV[4])
for at = 5, #ARGV do redis.call('SADD', key('workingQueues', W), ARGV[at]) end
return 1`;

/** W, Q, most bytes of a task, then ids for processes. → {id, task, bytes, tried, sha1}…, or nil: not registered any more. A task that is too long is not sent.
 * `sha1` is that of a task with bytes beyond ASCII, else empty: it tells whether they arrived as they are, which only UTF-8 does. */
const claim = `${KEYS}
local W, Q, most = ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('SISMEMBER', key('workingQueues', W), Q) == 0 then return false end
local claimed = {}
for at = 6, #ARGV do
  local process = ARGV[at]
  local task = redis.call('RPOPLPUSH', key('queues', Q), key('processes', process))
  if not task then break end
  redis.call('SADD', key('workingProcesses', Q), process)
  local count = tonumber(redis.call('GET', tried(Q, task)) or '0')
  local sha1 = string.find(task, '[\\128-\\255]') and redis.sha1hex(task) or ''
  claimed[#claimed + 1] = { process, #task <= most and task or '', #task, count, sha1 }
end
return claimed`;

/** W, timeout in ms, then held processes. → those of them that are gone, or nil: others took us for dead. */
const beat = `${TRACK}
local W = ARGV[3]
if redis.call('SISMEMBER', P .. ':expiringWorkers', W) == 0 then return false end
redis.call('SET', key('workerTimers', W), 'RUN', 'PX', ARGV[4])
local lost = {}
for at = 5, #ARGV do
  if redis.call('EXISTS', key('processes', ARGV[at])) == 0 then
    untrack(ARGV[at])
    lost[#lost + 1] = ARGV[at]
  end
end
return lost`;

/** Process, md5 of its task, what is published. → 0: it is no longer there. */
const finish = `${TRACK}
local process = ARGV[3]
local task = redis.call('LINDEX', key('processes', process), 0)
untrack(process)
if not task then return 0 end
redis.call('DEL', P .. ':uniqueTasks:' .. ARGV[4], key('processes', process), tried(queueOf(process), task))
redis.call('PUBLISH', P .. '_' .. queueOf(process) .. '_done', ARGV[5])
return 1`;

/** Process, `front` (next out) or `back`, `charge` or `free`. → 0: it is no longer there. */
const putBack = `${RETURN}
return giveBack(ARGV[3], ARGV[4] == 'front', ARGV[5] == 'charge')`;

/** W: gives back what it still holds and signs off. */
const signOff = `${RETURN}
giveBackAllOf(ARGV[3], true, false)
leave(ARGV[3])
return 1`;

/**
 * W, and how ids of our own workers begin. → how many tasks of the dead worker W are back in their queues, or -1: it is not dead, or others
 * must see to it. Of a worker of ours only what it held. Of a foreign one what no worker of ours holds, and only if no other living foreign
 * worker works on its queues, since nobody but that worker knows what it holds.
 */
const recover = `${RETURN}
local dead, mark = ARGV[3], ARGV[4]
local function isOurs(worker) return string.sub(worker, 1, #mark) == mark end
local function isDead(worker)
  return redis.call('SISMEMBER', P .. ':expiringWorkers', worker) == 1 and redis.call('EXISTS', key('workerTimers', worker)) == 0
end
if not isDead(dead) then return -1 end
if isOurs(dead) then
  local back = giveBackAllOf(dead, false, true)
  leave(dead)
  return back
end
local queues, back = redis.call('SMEMBERS', key('workingQueues', dead)), 0
for _, worker in ipairs(redis.call('SMEMBERS', P .. ':workers')) do
  if not isOurs(worker) and worker ~= dead and not isDead(worker) then
    for _, queue in ipairs(queues) do
      if redis.call('SISMEMBER', key('workingQueues', worker), queue) == 1 then return -1 end
    end
  end
end
for _, queue in ipairs(queues) do
  for _, process in ipairs(redis.call('SMEMBERS', key('workingProcesses', queue))) do
    if not startsAfter(queue, process, mark) then back = back + giveBack(process, false, false) end
  end
end
leave(dead)
return back`;

/** Q, task, its md5. → 0: an equal task is queued or runs. For producers. */
const enqueueUnique = `${KEYS}
local Q, task = ARGV[3], ARGV[4]
if not redis.call('SET', P .. ':uniqueTasks:' .. ARGV[5], ' ', 'NX') then return 0 end
redis.call('LPUSH', key('queues', Q), task)
redis.call('PUBLISH', P .. '_' .. Q .. '_work', '1')
return 1`;

/** Q, task, its md5. → how many were waiting. For producers. */
const cancel = `${KEYS}
local Q, task = ARGV[3], ARGV[4]
local removed = redis.call('LREM', key('queues', Q), 0, task)
redis.call('DEL', P .. ':uniqueTasks:' .. ARGV[5], tried(Q, task))
redis.call('PUBLISH', P .. '_' .. Q .. '_cancel', task)
return removed`;

export const scripts = { register, claim, beat, finish, putBack, signOff, recover, enqueueUnique, cancel } as const;
export type ScriptName = keyof typeof scripts;
