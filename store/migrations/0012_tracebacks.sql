-- Where in the code a unit failed: cluster workers have no terminal of their own.
ALTER TABLE base.failures ADD COLUMN traceback VARCHAR;

CREATE OR REPLACE VIEW base.standing_failures AS
SELECT f.* FROM base.failures AS f
ANTI JOIN base.units AS u ON u.unit_id = f.unit_id AND u.kind = f.kind;

CREATE OR REPLACE VIEW units AS
SELECT
    unit_id, kind, run_id, label, 'finished' AS status, row_count, seconds, finished_at, versions,
    CAST(NULL AS VARCHAR) AS reason, CAST(NULL AS VARCHAR) AS traceback
FROM base.units
WHERE run_id IS NULL OR run_id IN (FROM base.wanted_runs)
UNION ALL
SELECT
    unit_id, kind, run_id, label, 'failed' AS status, CAST(NULL AS BIGINT), CAST(NULL AS DOUBLE),
    failed_at, CAST(NULL AS VARCHAR), reason, traceback
FROM base.standing_failures
WHERE run_id IS NULL OR run_id IN (FROM base.wanted_runs);
