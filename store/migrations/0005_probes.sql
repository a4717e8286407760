-- Linear probes of the features at each cut of each checkpoint.
CREATE TABLE base.probes (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    step BIGINT, norm VARCHAR, fit_labels VARCHAR, pool INTEGER, n BIGINT, correct BIGINT,
    accuracy DOUBLE, accuracy_low DOUBLE, accuracy_high DOUBLE, chance DOUBLE,
    network_accuracy DOUBLE, fit_n BIGINT, fit_accuracy DOUBLE, strength DOUBLE
);

CREATE VIEW probes AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, norm, fit_labels, pool, n, correct, accuracy,
    accuracy_low, accuracy_high, chance, network_accuracy, fit_n, fit_accuracy, strength
FROM base.probes AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, norm, fit_labels, pool
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
