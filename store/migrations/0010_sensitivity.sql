-- Whether scores are the same the other way round, and retention under the last deep part.
ALTER TABLE base.consistency ADD COLUMN asymmetry DOUBLE;
ALTER TABLE base.consistency ADD COLUMN asymmetry_low DOUBLE;
ALTER TABLE base.consistency ADD COLUMN asymmetry_high DOUBLE;

CREATE OR REPLACE VIEW consistency AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, control, replicate, measure, weighting,
    pairs, score, score_low, score_high, excess, excess_low, excess_high, asymmetry, asymmetry_low,
    asymmetry_high, n, checkpoints, resamples
FROM base.consistency AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY
        r.run_id, eval_id, cut, norm, dtype, control, replicate, measure, weighting, pairs
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE TABLE base.retentions (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, dtype VARCHAR, control VARCHAR, replicate INTEGER, shallow_step BIGINT,
    deep_step BIGINT, retention DOUBLE, retention_low DOUBLE, retention_high DOUBLE, n BIGINT
);

CREATE VIEW retentions AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, control, replicate, shallow_step, deep_step,
    retention, retention_low, retention_high, n
FROM base.retentions AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, norm, dtype, control, replicate, shallow_step
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
