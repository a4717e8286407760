-- Memory: every cell against the network of its deep part, and how well each example is kept.
CREATE TABLE base.memory (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, dtype VARCHAR, gamma DOUBLE, shallow_step BIGINT, deep_step BIGINT, eps DOUBLE,
    loss_eps DOUBLE, high DOUBLE, n BIGINT, accuracy DOUBLE, own_accuracy DOUBLE,
    earlier_accuracy DOUBLE, lost DOUBLE, lost_low DOUBLE, lost_high DOUBLE, right_to_wrong BIGINT,
    wrong_to_right BIGINT, p DOUBLE, held BIGINT, kept BIGINT, share DOUBLE, share_low DOUBLE,
    share_high DOUBLE, loss DOUBLE, own_loss DOUBLE, loss_difference DOUBLE, loss_bound DOUBLE,
    empirical BOOLEAN, implied BOOLEAN, forgotten BOOLEAN, train_eval_id VARCHAR, gap DOUBLE,
    gap_low DOUBLE, gap_high DOUBLE
);

CREATE TABLE base.memory_examples (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, dtype VARCHAR, gamma DOUBLE, n BIGINT, checkpoints INTEGER, known BIGINT,
    memory DOUBLE, memory_low DOUBLE, memory_high DOUBLE, of_examples FLOAT[]
);

CREATE OR REPLACE VIEW memory AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, gamma, shallow_step, deep_step, eps,
    loss_eps, high, n, accuracy, own_accuracy, earlier_accuracy, lost, lost_low, lost_high,
    right_to_wrong, wrong_to_right, p, held, kept, share, share_low, share_high, loss, own_loss,
    loss_difference, loss_bound, empirical, implied, forgotten, train_eval_id, gap, gap_low,
    gap_high
FROM base.memory AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY
        r.run_id, eval_id, cut, norm, dtype, gamma, eps, loss_eps, high, shallow_step, deep_step
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW memory_examples AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, gamma, n, checkpoints, known, memory,
    memory_low, memory_high, of_examples
FROM base.memory_examples AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, norm, dtype, gamma ORDER BY u.finished_at DESC, u.unit_id
) = 1;
