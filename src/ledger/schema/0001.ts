/**
 * Lays out the tables for groups, workgroups, graphs, merging and schedules as well, so that later migrations add behaviour instead of
 * rewriting rows. Large texts come last in their row. `seq` numbers are drawn from `counter`, never from the engine.
 */
export const schema0001 = `
CREATE TABLE job (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  channel TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('blocked', 'ready', 'leased', 'completed', 'failed', 'cancelled')),
  priority INTEGER NOT NULL,
  run_at INTEGER,
  pending INTEGER NOT NULL DEFAULT 0,
  grp INTEGER,
  workgroup INTEGER,
  merge_key TEXT,
  weight INTEGER NOT NULL DEFAULT 1,
  seed INTEGER NOT NULL DEFAULT 0,
  requires TEXT,
  timeout_ms INTEGER,
  attempts_allowed INTEGER NOT NULL,
  attempts_made INTEGER NOT NULL DEFAULT 0,
  backoff_ms INTEGER NOT NULL,
  lease INTEGER NOT NULL DEFAULT 0,
  lease_until INTEGER,
  worker INTEGER,
  settled_lease INTEGER NOT NULL DEFAULT 0,
  settled_seq INTEGER,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  error TEXT,
  data TEXT NOT NULL,
  output TEXT
);
CREATE UNIQUE INDEX job_id ON job (id);
CREATE INDEX job_ready ON job (channel, priority DESC, seq) WHERE state = 'ready' AND run_at IS NULL;
CREATE INDEX job_delayed ON job (run_at) WHERE state = 'ready' AND run_at IS NOT NULL;
CREATE INDEX job_leased ON job (lease_until, worker) WHERE state = 'leased';
CREATE UNIQUE INDEX job_leased_key ON job (channel, merge_key) WHERE state = 'leased' AND merge_key IS NOT NULL;
CREATE INDEX job_settled ON job (settled_seq) WHERE settled_seq IS NOT NULL;
CREATE INDEX job_grp ON job (grp, seq) WHERE grp IS NOT NULL;

CREATE TABLE edge (
  parent INTEGER NOT NULL,
  child INTEGER NOT NULL,
  PRIMARY KEY (parent, child)
);
CREATE INDEX edge_child ON edge (child);

CREATE TABLE grp (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT,
  paused INTEGER NOT NULL DEFAULT 0,
  parent_failure TEXT NOT NULL DEFAULT 'fail' CHECK (parent_failure IN ('fail', 'wait', 'run')),
  weight INTEGER NOT NULL DEFAULT 0,
  weight_ended INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
);

CREATE TABLE workgroup (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  held_until INTEGER,
  max_running INTEGER,
  running INTEGER NOT NULL DEFAULT 0,
  rate INTEGER,
  period_ms INTEGER
);

CREATE TABLE schedule (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  missed TEXT NOT NULL DEFAULT 'once' CHECK (missed IN ('skip', 'once', 'all')),
  paused INTEGER NOT NULL DEFAULT 0,
  last_at INTEGER,
  next_at INTEGER,
  job TEXT NOT NULL
);
CREATE INDEX schedule_next ON schedule (next_at) WHERE paused = 0 AND next_at IS NOT NULL;

CREATE TABLE worker (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  labels TEXT,
  approved_at INTEGER,
  revoked_at INTEGER
);

CREATE TABLE event (
  seq INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  happened_at INTEGER NOT NULL,
  job INTEGER,
  body TEXT
);

CREATE TABLE counter (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
);
INSERT INTO counter (name, value) VALUES ('job', 0), ('settled', 0), ('worker', 0);

CREATE TABLE tally (
  channel TEXT NOT NULL,
  state TEXT NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (channel, state)
);

CREATE TABLE note (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
`;
