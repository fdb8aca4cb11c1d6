import { createHash } from 'node:crypto';

/**
 * The Lua scripts of the crawl queue, each of which is one atomic step. Time is that of Redis, so that the clocks of the machines do not
 * matter. A request is locked exactly while the absolute value of its score is in the future: a lock expires without anybody having to
 * revoke it.
 */
export interface Script {
  readonly lua: string;
  readonly sha1: string;
}

const KEYS = `local META, REQUESTS, ORDERING, HANDLED, LOCKS, CLIENTS, HOSTS, RESULTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** Maintains the counts that are visible to others. */
const COUNT = `redis.call('HSET', META, 'modifiedAt', now, 'totalRequestCount', redis.call('HLEN', REQUESTS),
  'handledRequestCount', redis.call('SCARD', HANDLED), 'pendingRequestCount', redis.call('ZCARD', ORDERING))
`;

function script(body: string): Script {
  const lua = KEYS + body;
  return { lua, sha1: createHash('sha1').update(lua).digest('hex') };
}

/**
 * ARGV: queue id, client, ms until all keys expire. Joins the client, or signals that it is alive. Returns how many joined so far, and
 * when the queue was created.
 */
export const JOIN = script(`redis.call('HSETNX', META, 'id', ARGV[1])
redis.call('HSETNX', META, 'name', ARGV[1])
redis.call('HSETNX', META, 'createdAt', now)
redis.call('HSET', META, 'accessedAt', now)
redis.call('HSETNX', META, 'n:' .. ARGV[2], 0)
redis.call('ZADD', CLIENTS, now, ARGV[2])
for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end
return { redis.call('ZCARD', CLIENTS), redis.call('HGET', META, 'createdAt') }`);

/**
 * ARGV: channel to notify others, limit of requests in the queue, 1 for those that go first, then id and JSON of each. Returns for each 0
 * added, 1 present, 2 handled, 3 no room.
 */
export const ADD = script(`local max, first = tonumber(ARGV[2]), ARGV[3] == '1'
local total, count, added, out = redis.call('HLEN', REQUESTS), (#ARGV - 3) / 2, 0, {}
for i = 1, count do
  local id, json = ARGV[2 + i * 2], ARGV[3 + i * 2]
  if redis.call('HEXISTS', REQUESTS, id) == 1 then
    out[i] = redis.call('SISMEMBER', HANDLED, id) == 1 and 2 or 1
  elseif total >= max then
    out[i] = 3
    redis.call('HSET', META, 'full', 1)
  else
    redis.call('HSET', REQUESTS, id, json)
    -- Never in the future, which would mean locked. Keeps the given order; of those that go first, the last one is foremost.
    local score = now - 1 + i / (count + 1)
    redis.call('ZADD', ORDERING, first and -score or score, id)
    total, added, out[i] = total + 1, added + 1, 0
  end
end
if added > 0 then
  ${COUNT}
  -- Busy clients need no notification.
  if redis.call('HDEL', META, 'hungry') == 1 then redis.call('PUBLISH', ARGV[1], added) end
end
return out`);

/**
 * How many pages one client may claim. While work is scarce (fewer than a hundred known pages per client), no client gets further ahead
 * of the slowest one that still claims than 8 % of the known pages, at least one page, so that even ten pages are shared fairly, and none
 * claims more than it can run. Otherwise nobody waits for anybody: each takes what it can run now and soon, or its share of what is left
 * if that is less.
 *
 * limit: what it can run now; ahead: how many more it would take; ready: unclaimed pages; total: known pages; clients: those that claim;
 * mine: what it has claimed so far; low: what the slowest other client has claimed, nil if there is none.
 */
export const ALLOWANCE = `local function allowance(limit, ahead, ready, total, clients, mine, low)
  if not low then return limit + ahead end
  if total > clients * 100 then return math.min(limit + ahead, math.max(1, math.ceil(ready / clients))) end
  return math.max(0, math.min(limit, low + math.max(1, math.floor(total * 0.08)) - mine))
end
`;

/**
 * ARGV: client, limit, lock ms, balance (1 or 0), ms after which a silent client no longer counts, how many more than the limit while
 * pages are plentiful. Claims those that go first, then the oldest; for how many, see `ALLOWANCE`. Returns how many requests are not
 * handled, how many there are in total, when the queue was created, then id and JSON of each claimed.
 */
export const CLAIM = script(`${ALLOWANCE}
local client, limit, ahead = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[6])
local made = redis.call('HGET', META, 'createdAt') or ''
redis.call('ZADD', CLIENTS, now, client)
local total = redis.call('HLEN', REQUESTS)
local clients, low, mine = 0, nil, 0
if ARGV[4] == '1' then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', CLIENTS, now - tonumber(ARGV[5]), '+inf')) do
    clients = clients + 1
    local claims = tonumber(redis.call('HGET', META, 'n:' .. other) or '0')
    if other == client then mine = claims
    elseif not low or claims < low then low = claims end
  end
end
limit = allowance(limit, ahead, low and redis.call('ZCOUNT', ORDERING, -now, now) or 0, total, clients, mine, low)
local out = { 0, total, made }
if limit > 0 then
  local found = redis.call('ZRANGEBYSCORE', ORDERING, -now, now, 'WITHSCORES', 'LIMIT', 0, limit)
  local until_ = now + tonumber(ARGV[3])
  for i = 1, #found, 2 do
    local id, score = found[i], found[i + 1]
    redis.call('ZADD', ORDERING, 'XX', string.sub(score, 1, 1) == '-' and -until_ or until_, id)
    redis.call('HSET', LOCKS, id, client)
    out[#out + 1] = id
    out[#out + 1] = redis.call('HGET', REQUESTS, id)
  end
  if #found > 0 then
    redis.call('HINCRBY', META, 'n:' .. client, #found / 2)
    ${COUNT}
  end
end
if #out < 3 + 2 * tonumber(ARGV[2]) then redis.call('HSET', META, 'hungry', 1) end
out[1] = redis.call('ZCARD', ORDERING)
return out`);

/**
 * ARGV: client, ms from now, 1 moves them to those that go first, 0 to the others, '' keeps; then ids. Returns for each when its lock
 * expires, or -1 handled or unknown, -2 another client's.
 */
export const PROLONG = script(`local out, until_ = {}, now + tonumber(ARGV[2])
redis.call('ZADD', CLIENTS, now, ARGV[1])
for i = 4, #ARGV do
  local id = ARGV[i]
  local score = redis.call('ZSCORE', ORDERING, id)
  if not score then out[#out + 1] = -1
  elseif redis.call('HGET', LOCKS, id) ~= ARGV[1] then out[#out + 1] = -2
  else
    local first = ARGV[3] == '1' or (ARGV[3] == '' and string.sub(score, 1, 1) == '-')
    redis.call('ZADD', ORDERING, 'XX', first and -until_ or until_, id)
    out[#out + 1] = until_
  end
end
return out`);

/**
 * ARGV: client, id, 1 if it goes first, ms until it may be claimed, JSON or ''. Returns a request to the queue, in its new form if there
 * is one. Returns 1, or 0 if it was not the client's.
 */
export const RECLAIM = script(`if redis.call('HGET', LOCKS, ARGV[2]) ~= ARGV[1] then return 0 end
redis.call('HDEL', LOCKS, ARGV[2])
if ARGV[5] ~= '' then redis.call('HSET', REQUESTS, ARGV[2], ARGV[5]) end
local from = now + tonumber(ARGV[4])
redis.call('ZADD', ORDERING, 'XX', ARGV[3] == '1' and -from or from, ARGV[2])
return 1`);

/**
 * ARGV: client, then id, 1 if it failed, and JSON of each. Accepted even from a client that lost the lock meanwhile, because it has done
 * the work. Returns how many requests are not handled.
 */
export const HANDLE = script(`for i = 2, #ARGV, 3 do
  local id, failed, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  redis.call('ZREM', ORDERING, id)
  redis.call('HDEL', LOCKS, id)
  if redis.call('SADD', HANDLED, id) == 1 then
    redis.call('HSET', REQUESTS, id, json)
    redis.call('HINCRBY', META, 'h:' .. ARGV[1], 1)
    if failed == '1' then redis.call('HINCRBY', META, 'failedRequestCount', 1) end
  end
end
local left = redis.call('ZCARD', ORDERING)
-- Otherwise the next claim updates the counts, which is soon enough and 25 times cheaper.
if left == 0 then
  ${COUNT}
end
return left`);

/** ARGV: channel to notify others, client. Removes all locks of a dead client, and the client itself. Returns the number of requests. */
export const RELEASE = script(`local count, all = 0, redis.call('HGETALL', LOCKS)
for i = 1, #all, 2 do
  if all[i + 1] == ARGV[2] then
    redis.call('HDEL', LOCKS, all[i])
    local score = redis.call('ZSCORE', ORDERING, all[i])
    if score then
      redis.call('ZADD', ORDERING, 'XX', string.sub(score, 1, 1) == '-' and -now or now, all[i])
      count = count + 1
    end
  end
end
redis.call('ZREM', CLIENTS, ARGV[2])
redis.call('HDEL', META, 'n:' .. ARGV[2])
redis.call('PUBLISH', ARGV[1], count)
return count`);

/** ARGV: host, ms between its pages. Reserves the next time at which it may be requested; returns how many ms that is from now. */
export const SLOT = script(`local at = math.max(now, tonumber(redis.call('HGET', HOSTS, ARGV[1]) or '0'))
redis.call('HSET', HOSTS, ARGV[1], at + tonumber(ARGV[2]))
return at - now`);

/**
 * Returns the number of requests, handled, failed for good, not handled, 1 if some had no room, bytes of results, then each client with
 * its count of handled.
 */
export const COUNTS = script(`local out = { redis.call('HLEN', REQUESTS), redis.call('SCARD', HANDLED),
  tonumber(redis.call('HGET', META, 'failedRequestCount') or '0'), redis.call('ZCARD', ORDERING),
  redis.call('HEXISTS', META, 'full'), tonumber(redis.call('HGET', META, 'resultBytes') or '0') }
local meta = redis.call('HGETALL', META)
for i = 1, #meta, 2 do
  if string.sub(meta[i], 1, 2) == 'h:' then
    out[#out + 1] = string.sub(meta[i], 3)
    out[#out + 1] = tonumber(meta[i + 1])
  end
end
return out`);

/** ARGV: ms after which all keys expire. */
export const EXPIRE = script(`for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
return 1`);

/** Deletes all keys. */
export const REMOVE = script(`redis.call('DEL', unpack(KEYS))
return 1`);

/**
 * ARGV: id, 1 if it failed, and JSON of each result. Keeps one per page: a page that was read is not replaced by one that failed. Returns
 * their total bytes.
 */
export const KEEP = script(`local bytes = 0
for i = 1, #ARGV, 3 do
  local id, failed, json = ARGV[i], ARGV[i + 1] == '1', ARGV[i + 2]
  local old = redis.call('HGET', RESULTS, id)
  if not (old and failed) then
    redis.call('HSET', RESULTS, id, json)
    bytes = bytes + #json - (old and #old or 0)
  end
end
return redis.call('HINCRBY', META, 'resultBytes', bytes)`);

/** ARGV: cursor, count, limit of bytes for one. Returns the next cursor, then id and JSON of each; '' for a longer one. */
export const RESULTS_FROM = script(`local found = redis.call('HSCAN', RESULTS, ARGV[1], 'COUNT', ARGV[2])
local out, most = { found[1] }, tonumber(ARGV[3])
for i = 1, #found[2], 2 do
  out[#out + 1] = found[2][i]
  out[#out + 1] = #found[2][i + 1] <= most and found[2][i + 1] or ''
end
return out`);
