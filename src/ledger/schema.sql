-- Version 8, as made by the migrations. Written by `PEERWORK_WRITE_SCHEMA=1 node build/test/ledger/schema.test.js`.

CREATE TABLE counter (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
);

CREATE TABLE edge (
  parent INTEGER NOT NULL,
  child INTEGER NOT NULL, place INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (parent, child)
);

CREATE INDEX edge_child ON edge (child);

CREATE TABLE file (
  seq INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  used_at INTEGER NOT NULL
);

CREATE INDEX file_used ON file (used_at);

CREATE TABLE grp (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT,
  paused INTEGER NOT NULL DEFAULT 0,
  parent_failure TEXT NOT NULL DEFAULT 'fail' CHECK (parent_failure IN ('fail', 'wait', 'run')),
  created_at INTEGER NOT NULL
, retain_ms INTEGER, meta TEXT, resuming INTEGER NOT NULL DEFAULT 0);

CREATE INDEX grp_resuming ON grp (seq) WHERE resuming = 1;

CREATE TABLE grp_tally (
  grp INTEGER NOT NULL,
  state TEXT NOT NULL,
  shard INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  weight INTEGER NOT NULL, weight_part INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (grp, state, shard)
);

CREATE TABLE history (
  seq INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,
  happened_at INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('log', 'progress', 'error')),
  body TEXT NOT NULL
);

CREATE INDEX history_job ON history (job, seq);

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
, name TEXT, lane INTEGER, plain INTEGER NOT NULL DEFAULT 1, parked TEXT CHECK (parked IN ('group', 'workgroup', 'twin')), parents INTEGER NOT NULL DEFAULT 0, parent_failure TEXT CHECK (parent_failure IN ('fail', 'wait', 'run')), persistent INTEGER NOT NULL DEFAULT 0, merged_with INTEGER, backoff_fixed INTEGER NOT NULL DEFAULT 0, meta TEXT, begun_at INTEGER, dated_at INTEGER, weight_part INTEGER NOT NULL DEFAULT 0, worker_loss INTEGER NOT NULL DEFAULT 0, files TEXT, outcome_files TEXT);

CREATE INDEX job_channel ON job (channel, seq);

CREATE INDEX job_delayed ON job (run_at) WHERE state = 'ready' AND run_at IS NOT NULL;

CREATE INDEX job_grp ON job (grp, state, seq) WHERE grp IS NOT NULL;

CREATE UNIQUE INDEX job_id ON job (id);

CREATE INDEX job_leased ON job (worker, lease_until) WHERE state = 'leased';

CREATE UNIQUE INDEX job_leased_key ON job (channel, merge_key) WHERE state = 'leased' AND merge_key IS NOT NULL;

CREATE INDEX job_outcomes ON job (channel, merge_key, finished_at) WHERE merge_key IS NOT NULL AND state = 'completed';

CREATE INDEX job_parked_grp ON job (grp, priority DESC, seq) WHERE parked = 'group';

CREATE INDEX job_parked_twin ON job (channel, merge_key) WHERE parked = 'twin';

CREATE INDEX job_parked_workgroup ON job (workgroup, priority DESC, seq) WHERE parked = 'workgroup';

CREATE INDEX job_ready ON job (lane, priority DESC, seq) WHERE state = 'ready' AND run_at IS NULL AND parked IS NULL;

CREATE INDEX job_running_workgroup ON job (workgroup) WHERE state = 'leased' AND workgroup IS NOT NULL;

CREATE INDEX job_settled ON job (settled_seq) WHERE settled_seq IS NOT NULL;

CREATE INDEX job_state ON job (state, seq) WHERE state IN ('failed', 'cancelled', 'blocked');

CREATE INDEX job_twins ON job (channel, merge_key, seq) WHERE merge_key IS NOT NULL AND state IN ('ready', 'blocked');

CREATE INDEX job_workgroup ON job (workgroup, seq) WHERE workgroup IS NOT NULL;

CREATE TABLE job_file (
  job INTEGER NOT NULL,
  file INTEGER NOT NULL,
  PRIMARY KEY (job, file)
);

CREATE INDEX job_file_file ON job_file (file);

CREATE TABLE lane (
  seq INTEGER PRIMARY KEY,
  channel TEXT NOT NULL,
  requires TEXT NOT NULL,
  UNIQUE (channel, requires)
);

CREATE TABLE migration (version INTEGER PRIMARY KEY);

CREATE TABLE note (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
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

CREATE TABLE tally (
  channel TEXT NOT NULL,
  state TEXT NOT NULL,
  shard INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (channel, state, shard)
);

CREATE TABLE worker (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  labels TEXT,
  approved_at INTEGER,
  revoked_at INTEGER
, drained_at INTEGER);

CREATE TABLE workgroup (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  held_until INTEGER,
  max_running INTEGER,
  rate INTEGER,
  period_ms INTEGER
, window_at INTEGER, window_used INTEGER NOT NULL DEFAULT 0, waiting INTEGER NOT NULL DEFAULT 0);

CREATE INDEX workgroup_waiting ON workgroup (seq) WHERE waiting = 1;
