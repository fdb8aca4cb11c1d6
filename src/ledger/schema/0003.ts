/**
 * What the time limit of a run and the number of jobs that a worker holds need.
 *
 * - `begun_at`: when a leased job was last said to wait in its worker. Its time counts from then; NULL: from its lease.
 * - What is leased is counted by worker at each claim, and looked at by the ends of leases only now and then: so the worker comes first.
 */
export const schema0003 = `
ALTER TABLE job ADD COLUMN begun_at INTEGER;
DROP INDEX job_leased;
CREATE INDEX job_leased ON job (worker, lease_until) WHERE state = 'leased';
`;
