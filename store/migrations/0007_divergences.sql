-- Distances between laws of features, each beside its permutation null.
CREATE TABLE base.divergences (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, other_eval_id VARCHAR, split VARCHAR,
    cut VARCHAR, depth INTEGER, shallow_step BIGINT, deep_step BIGINT, norm VARCHAR,
    measure VARCHAR, q INTEGER, labelled BOOLEAN, n BIGINT, other_n BIGINT, features INTEGER,
    permutations INTEGER, value DOUBLE, null_mean DOUBLE, null_high DOUBLE, p DOUBLE, excess DOUBLE
);

CREATE OR REPLACE VIEW divergences AS
SELECT
    r.run_id, eval_id, other_eval_id, split, cut, depth, shallow_step, deep_step, norm, measure, q,
    labelled, n, other_n, features, permutations, value, null_mean, null_high, p, excess
FROM base.divergences AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY
        r.run_id, eval_id, other_eval_id, cut, shallow_step, deep_step, norm, measure, q, labelled
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
