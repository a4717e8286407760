-- Accuracy of every checkpoint on corrupted images.
CREATE TABLE base.corruptions (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, corruption VARCHAR,
    severity INTEGER, step BIGINT, norm VARCHAR, n BIGINT, correct BIGINT, accuracy DOUBLE,
    accuracy_low DOUBLE, accuracy_high DOUBLE
);

CREATE VIEW corruptions AS
SELECT
    r.run_id, eval_id, split, corruption, severity, step, norm, n, correct, accuracy, accuracy_low,
    accuracy_high
FROM base.corruptions AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, step, norm ORDER BY u.finished_at DESC, u.unit_id
) = 1;
