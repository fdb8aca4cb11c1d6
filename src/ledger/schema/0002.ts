/**
 * Support for groups, graphs, merging, workgroups and several Masters.
 *
 * - A **lane** is what can be claimed together: the jobs of a channel that require the same labels. Its ready jobs share one index range,
 *   so a claim never walks over jobs that its worker may not run.
 * - A claim **parks** a job, taking it out of that index, when it finds that the job's group is paused, its workgroup held or full, or a
 *   duplicate running; it is released when that ends. So pausing writes one row, and a million paused jobs are walked over once.
 * - A job is **plain** when its end changes nothing else: no key, no children, not persistent.
 * - The running jobs of a workgroup are counted in an index when its limit matters: a counter could drift.
 * - Each index that a run passes through adds to its cost: running and completed jobs have no index of their own for lists or retention.
 * - Tallies are kept per **shard**, one for each open ledger: Masters on one Postgres must not wait for each other's rows.
 */
export const schema0002 = `
ALTER TABLE job ADD COLUMN name TEXT;
ALTER TABLE job ADD COLUMN lane INTEGER;
ALTER TABLE job ADD COLUMN plain INTEGER NOT NULL DEFAULT 1;
ALTER TABLE job ADD COLUMN parked TEXT CHECK (parked IN ('group', 'workgroup', 'twin'));
ALTER TABLE job ADD COLUMN parents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN parent_failure TEXT CHECK (parent_failure IN ('fail', 'wait', 'run'));
ALTER TABLE job ADD COLUMN persistent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN merged_with INTEGER;
ALTER TABLE job ADD COLUMN backoff_fixed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN meta TEXT;
ALTER TABLE edge ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE edge ADD COLUMN done INTEGER NOT NULL DEFAULT 0;

CREATE TABLE lane (
  seq INTEGER PRIMARY KEY,
  channel TEXT NOT NULL,
  requires TEXT NOT NULL,
  UNIQUE (channel, requires)
);
DROP INDEX job_ready;
DROP INDEX job_grp;
CREATE INDEX job_ready ON job (lane, priority DESC, seq) WHERE state = 'ready' AND run_at IS NULL AND parked IS NULL;
CREATE INDEX job_parked_grp ON job (grp, priority DESC, seq) WHERE parked = 'group';
CREATE INDEX job_parked_workgroup ON job (workgroup, priority DESC, seq) WHERE parked = 'workgroup';
CREATE INDEX job_parked_twin ON job (channel, merge_key) WHERE parked = 'twin';
CREATE INDEX job_running_workgroup ON job (workgroup) WHERE state = 'leased' AND workgroup IS NOT NULL;
CREATE INDEX job_twins ON job (channel, merge_key, seq) WHERE merge_key IS NOT NULL AND state IN ('ready', 'blocked');
CREATE INDEX job_outcomes ON job (channel, merge_key, finished_at) WHERE merge_key IS NOT NULL AND state = 'completed';
CREATE INDEX job_grp ON job (grp, state, seq) WHERE grp IS NOT NULL;
CREATE INDEX job_workgroup ON job (workgroup, seq) WHERE workgroup IS NOT NULL;
CREATE INDEX job_state ON job (state, seq) WHERE state IN ('failed', 'cancelled', 'blocked');
CREATE INDEX job_channel ON job (channel, seq);

ALTER TABLE grp DROP COLUMN weight;
ALTER TABLE grp DROP COLUMN weight_ended;
ALTER TABLE grp ADD COLUMN retain_ms INTEGER;
ALTER TABLE grp ADD COLUMN meta TEXT;
ALTER TABLE grp ADD COLUMN resuming INTEGER NOT NULL DEFAULT 0;
CREATE INDEX grp_resuming ON grp (seq) WHERE resuming = 1;

CREATE TABLE grp_tally (
  grp INTEGER NOT NULL,
  state TEXT NOT NULL,
  shard INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  PRIMARY KEY (grp, state, shard)
);

ALTER TABLE workgroup DROP COLUMN running;
ALTER TABLE workgroup ADD COLUMN window_at INTEGER;
ALTER TABLE workgroup ADD COLUMN window_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workgroup ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
CREATE INDEX workgroup_waiting ON workgroup (seq) WHERE waiting = 1;

ALTER TABLE worker ADD COLUMN drained_at INTEGER;

DROP TABLE event;
CREATE TABLE history (
  seq INTEGER PRIMARY KEY,
  job INTEGER NOT NULL,
  happened_at INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('log', 'progress', 'error')),
  body TEXT NOT NULL
);
CREATE INDEX history_job ON history (job, seq);

DROP TABLE tally;
CREATE TABLE tally (
  channel TEXT NOT NULL,
  state TEXT NOT NULL,
  shard INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (channel, state, shard)
);
INSERT INTO tally (channel, state, shard, jobs) SELECT channel, state, 0, COUNT(*) FROM job GROUP BY channel, state;
INSERT INTO counter (name, value) VALUES ('lane', 0), ('grp', 0), ('workgroup', 0), ('schedule', 0), ('history', 0), ('shard', 0);
INSERT INTO lane (seq, channel, requires) SELECT MIN(seq), channel, '' FROM job GROUP BY channel;
UPDATE job SET lane = (SELECT seq FROM lane WHERE lane.channel = job.channel);
UPDATE counter SET value = (SELECT COALESCE(MAX(seq), 0) FROM lane) WHERE name = 'lane';
`;
