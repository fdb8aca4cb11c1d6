/**
 * Every operation in Redis is a single script, so that no peer can change the keys in between and a lost claim can be told apart from a
 * held one. `P` is worqr's prefix, `S` that of our own additional keys:
 *
 * - `S:tried:Q:hash`: number of runs of a task that failed or crashed, which expires a day after the last one.
 *
 * worqr does not record who holds a process. Ours name their holder: `Q_W.n` is the n-th process of the worker W.
 *
 * The scripts use keys that are not passed to them, which rules out Redis Cluster; worqr's own transactions do not work there either.
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

/** Arguments: W, timeout in ms, queues. */
const register = `${KEYS}
local W = ARGV[3]
redis.call('SADD', P .. ':workers', W)
redis.call('SADD', P .. ':expiringWorkers', W)
redis.call('SET', key('workerTimers', W), 'RUN', 'PX', ARGV[4])
for at = 5, #ARGV do redis.call('SADD', key('workingQueues', W), ARGV[at]) end
return 1`;

/**
 * Arguments: W, Q, size limit of a task in bytes, process ids. Returns a list of {id, task, bytes, tried, sha1}, or nil if the worker is
 * not registered. A task over the limit is returned as empty text. `sha1` is set if the task has bytes beyond ASCII, else empty: it shows
 * whether they arrived unchanged, which only valid UTF-8 does.
 */
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

/** Arguments: W, timeout in ms, held processes. Returns those of them that no longer exist, or nil if peers considered us dead. */
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

/** Arguments: process, MD5 of its task, message to publish. Returns 0 if the process no longer exists. */
const finish = `${TRACK}
local process = ARGV[3]
local task = redis.call('LINDEX', key('processes', process), 0)
untrack(process)
if not task then return 0 end
redis.call('DEL', P .. ':uniqueTasks:' .. ARGV[4], key('processes', process), tried(queueOf(process), task))
redis.call('PUBLISH', P .. '_' .. queueOf(process) .. '_done', ARGV[5])
return 1`;

/** Arguments: process, `front` (next out) or `back`, `charge` or `free`. Returns 0 if the process no longer exists. */
const putBack = `${RETURN}
return giveBack(ARGV[3], ARGV[4] == 'front', ARGV[5] == 'charge')`;

/** Arguments: W. Puts back what the worker still holds and unregisters it. */
const signOff = `${RETURN}
giveBackAllOf(ARGV[3], true, false)
leave(ARGV[3])
return 1`;

/**
 * Arguments: W, id prefix of our own workers. Returns how many tasks of the dead worker W were put back, or -1 if it is not dead or others
 * must recover it. For a worker of ours, only what it held is put back. For a foreign one, everything that no worker of ours holds, and
 * only if no other living foreign worker serves its queues, since only that worker knows what it holds.
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

/** Arguments: Q, task, its MD5. Returns 0 if an equal task is queued or running. For producers. */
const enqueueUnique = `${KEYS}
local Q, task = ARGV[3], ARGV[4]
if not redis.call('SET', P .. ':uniqueTasks:' .. ARGV[5], ' ', 'NX') then return 0 end
redis.call('LPUSH', key('queues', Q), task)
redis.call('PUBLISH', P .. '_' .. Q .. '_work', '1')
return 1`;

/** Arguments: Q, task, its MD5. Returns how many were waiting. For producers. */
const cancel = `${KEYS}
local Q, task = ARGV[3], ARGV[4]
local removed = redis.call('LREM', key('queues', Q), 0, task)
redis.call('DEL', P .. ':uniqueTasks:' .. ARGV[5], tried(Q, task))
redis.call('PUBLISH', P .. '_' .. Q .. '_cancel', task)
return removed`;

export const scripts = { register, claim, beat, finish, putBack, signOff, recover, enqueueUnique, cancel } as const;
export type ScriptName = keyof typeof scripts;
