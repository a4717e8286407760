-- The splice cube: predictions, displacement, scores with their controls, comparators. Parts
-- written before a column was there get its default.
ALTER TABLE base.study_runs ADD COLUMN role VARCHAR DEFAULT 'arm';
ALTER TABLE base.evaluations ADD COLUMN class_names VARCHAR[];
ALTER TABLE base.evaluations ADD COLUMN targets UTINYINT[];
ALTER TABLE base.splices ADD COLUMN target_half_width DOUBLE DEFAULT 0;
ALTER TABLE base.splices ADD COLUMN dtype_agreement DOUBLE DEFAULT 1;

-- Parts that a unit writes beside its main one, under the same unit_id and a kind of their own.
-- They may hold no row, so that rows alone cannot tell whether they were ingested.
CREATE TABLE base.companions (unit_id VARCHAR, kind VARCHAR);

CREATE TABLE base.predictions (
    unit_id VARCHAR, run_id VARCHAR, shallow_run_id VARCHAR, control VARCHAR, replicate INTEGER,
    eval_id VARCHAR, cut VARCHAR, depth INTEGER, shallow_step BIGINT, deep_step BIGINT,
    norm VARCHAR, dtype VARCHAR, batch_size INTEGER, n BIGINT, predicted UTINYINT[]
);

CREATE TABLE base.displacement (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    shallow_step BIGINT, deep_step BIGINT, norm VARCHAR, n BIGINT, displacement DOUBLE,
    one_minus_cka DOUBLE
);

CREATE TABLE base.comparators (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, comparator VARCHAR,
    first_step BIGINT, last_step BIGINT, checkpoints INTEGER, norm VARCHAR, n BIGINT,
    correct BIGINT, accuracy DOUBLE, loss DOUBLE
);

CREATE TABLE base.connectivity (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, path VARCHAR, cut VARCHAR,
    depth INTEGER, shallow_step BIGINT, deep_step BIGINT, alpha DOUBLE, norm VARCHAR, n BIGINT,
    correct BIGINT, accuracy DOUBLE, loss DOUBLE
);

CREATE TABLE base.consistency (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, dtype VARCHAR, control VARCHAR, replicate INTEGER, measure VARCHAR,
    weighting VARCHAR, pairs VARCHAR, score DOUBLE, score_low DOUBLE, score_high DOUBLE,
    excess DOUBLE, excess_low DOUBLE, excess_high DOUBLE, n BIGINT, checkpoints INTEGER,
    resamples INTEGER
);

CREATE TABLE base.horizons (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, dtype VARCHAR DEFAULT 'float32', deep_step BIGINT, eps DOUBLE, horizon BIGINT,
    censored BOOLEAN, n BIGINT
);

CREATE OR REPLACE VIEW study_runs AS
SELECT study, title, position, arm, name, role, run_id FROM base.study_runs;

-- A run may serve several studies; it is described once, by the first of them in the alphabet. One
-- that is an arm anywhere is an arm: that it also serves another study as a control is less.
CREATE OR REPLACE VIEW runs AS
SELECT
    r.run_id,
    r.study,
    r.name,
    r.arm,
    r.role,
    coalesce(r.config ->> '$.data.title', r.config ->> '$.data.name') AS dataset,
    r.config ->> '$.network.name' AS network,
    r.config ->> '$.network.norm_layer' AS norm_layer,
    r.config ->> '$.recipe.optimizer' AS optimizer,
    CAST(r.config ->> '$.label_noise' AS DOUBLE) AS label_noise,
    coalesce(CAST(r.config ->> '$.data.permute_pixels' AS BOOLEAN), FALSE) AS pixels_permuted,
    r.train_size,
    CAST(r.config ->> '$.seeds.init' AS BIGINT) AS seed_init,
    CAST(coalesce(r.config ->> '$.branch.order', r.config ->> '$.seeds.order') AS BIGINT)
        AS seed_order,
    CAST(r.config ->> '$.seeds.labels' AS BIGINT) AS seed_labels,
    CAST(r.config ->> '$.freeze.depth' AS INTEGER) AS frozen_depth,
    CAST(r.config ->> '$.freeze.from_step' AS BIGINT) AS frozen_from,
    (r.config ->> '$.replay.depth') IS NOT NULL AS replay,
    r.parent_run_id,
    r.parent_step,
    r.config,
    CASE
        WHEN u.unit_id IS NOT NULL THEN 'finished'
        WHEN f.unit_id IS NOT NULL THEN 'failed'
        ELSE 'planned'
    END AS status,
    f.step AS failed_step,
    f.reason AS failure
FROM base.study_runs AS r
LEFT JOIN base.units AS u ON u.unit_id = r.run_id AND u.kind = 'metrics'
LEFT JOIN base.standing_failures AS f ON f.unit_id = r.run_id AND f.kind = 'metrics'
QUALIFY row_number() OVER (PARTITION BY r.run_id ORDER BY r.role, r.study, r.position) = 1;

CREATE OR REPLACE VIEW evaluations AS
SELECT
    eval_id, dataset, split, n, classes, subset_sha256, labels, corruption, severity, config,
    class_names, targets
FROM base.evaluations;

CREATE OR REPLACE VIEW splices AS
SELECT
    run_id, shallow_run_id, control, replicate, eval_id, split, corruption, severity, cut, depth,
    shallow_step, deep_step, norm, dtype, batch_size, target_half_width, n, correct, accuracy,
    loss, margin, agreement, chance, retention, half_width,
    wilson_low(correct, n) AS accuracy_low, wilson_high(correct, n) AS accuracy_high,
    dtype_agreement
FROM base.splices
WHERE run_id IN (FROM base.wanted_runs) AND shallow_run_id IN (FROM base.wanted_runs);

CREATE VIEW predictions AS
SELECT
    run_id, shallow_run_id, control, replicate, eval_id, cut, depth, shallow_step, deep_step, norm,
    dtype, batch_size, n, predicted
FROM base.predictions
WHERE run_id IN (FROM base.wanted_runs) AND shallow_run_id IN (FROM base.wanted_runs);

-- Settings that are in no key (resamples, controls, most examples, batch size) make other units: an
-- edited study leaves the rows of its older ones. Of a key the row of the unit that ended last shows.
CREATE VIEW displacement AS
SELECT
    r.run_id, eval_id, split, cut, depth, shallow_step, deep_step, norm, n, displacement,
    one_minus_cka
FROM base.displacement AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, shallow_step, deep_step, norm
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE VIEW comparators AS
SELECT
    r.run_id, eval_id, split, comparator, first_step, last_step, checkpoints, norm, n, correct,
    accuracy, loss, wilson_low(correct, n) AS accuracy_low, wilson_high(correct, n) AS accuracy_high
FROM base.comparators AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, comparator ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE VIEW connectivity AS
SELECT
    r.run_id, eval_id, split, path, cut, depth, shallow_step, deep_step, alpha, norm, n, correct,
    accuracy, loss
FROM base.connectivity AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, path, cut, shallow_step, deep_step, alpha
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE VIEW consistency AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, control, replicate, measure, weighting,
    pairs, score, score_low, score_high, excess, excess_low, excess_high, n, checkpoints, resamples
FROM base.consistency AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY
        r.run_id, eval_id, cut, norm, dtype, control, replicate, measure, weighting, pairs
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE VIEW horizons AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, dtype, deep_step, eps, horizon, censored, n
FROM base.horizons AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, norm, dtype, deep_step, eps
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
