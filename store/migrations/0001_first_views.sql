-- Tables live in schema base; what others may rely on are the views (docs/store.md).
-- Every row of a part carries its unit_id, so that a part is replaced as a whole.
CREATE SCHEMA base;

CREATE TABLE base.schema_migrations (version INTEGER, name VARCHAR);

CREATE TABLE base.units (
    unit_id VARCHAR, kind VARCHAR, run_id VARCHAR, label VARCHAR,
    row_count BIGINT, seconds DOUBLE, finished_at TIMESTAMP, versions VARCHAR
);

CREATE TABLE base.study_runs (
    unit_id VARCHAR, study VARCHAR, title VARCHAR, position INTEGER, arm VARCHAR, name VARCHAR,
    run_id VARCHAR, train_size BIGINT, config VARCHAR, study_toml VARCHAR
);

CREATE TABLE base.checkpoints (
    unit_id VARCHAR, run_id VARCHAR, step BIGINT, epoch DOUBLE, sha256 VARCHAR, bytes BIGINT
);

CREATE TABLE base.metrics (
    unit_id VARCHAR, run_id VARCHAR, step BIGINT, epoch DOUBLE, split VARCHAR, mode VARCHAR,
    labels VARCHAR, n BIGINT, correct BIGINT, accuracy DOUBLE, loss DOUBLE, lr DOUBLE
);

CREATE TABLE base.evaluations (
    unit_id VARCHAR, eval_id VARCHAR, dataset VARCHAR, split VARCHAR, n BIGINT, classes INTEGER,
    subset_sha256 VARCHAR, labels VARCHAR, corruption VARCHAR, severity INTEGER, config VARCHAR
);

CREATE TABLE base.splices (
    unit_id VARCHAR, run_id VARCHAR, shallow_run_id VARCHAR, control VARCHAR, replicate INTEGER,
    eval_id VARCHAR, split VARCHAR, corruption VARCHAR, severity INTEGER, cut VARCHAR,
    depth INTEGER, shallow_step BIGINT, deep_step BIGINT, norm VARCHAR, dtype VARCHAR,
    batch_size INTEGER, n BIGINT, correct BIGINT, accuracy DOUBLE, loss DOUBLE, margin DOUBLE,
    agreement DOUBLE, chance DOUBLE, retention DOUBLE, half_width DOUBLE
);

-- Wilson's score interval at 95 % (z = 1.96, in full below): over examples, for a fixed trained
-- network.
CREATE MACRO wilson_low(k, n) AS greatest(0.0,
    (k + 1.920729410347062) / (n + 3.841458820694124)
    - 1.959963984540054 * sqrt(k * (n - k) / n + 0.960364705173531) / (n + 3.841458820694124)
);
CREATE MACRO wilson_high(k, n) AS least(1.0,
    (k + 1.920729410347062) / (n + 3.841458820694124)
    + 1.959963984540054 * sqrt(k * (n - k) / n + 0.960364705173531) / (n + 3.841458820694124)
);

-- What no study asks for any more (its file was edited) stays on disk, but out of sight.
CREATE VIEW base.wanted_runs AS SELECT DISTINCT run_id FROM base.study_runs;

CREATE VIEW units AS
SELECT unit_id, kind, run_id, label, 'finished' AS status, row_count, seconds, finished_at, versions
FROM base.units
WHERE run_id IS NULL OR run_id IN (FROM base.wanted_runs);

CREATE VIEW study_runs AS
SELECT study, title, position, arm, name, run_id FROM base.study_runs;

-- A run may serve several studies; it is described once, by the first of them in the alphabet.
CREATE VIEW runs AS
SELECT
    r.run_id,
    r.study,
    r.name,
    r.arm,
    r.config ->> '$.data.name' AS dataset,
    r.config ->> '$.network.name' AS network,
    r.config ->> '$.network.norm_layer' AS norm_layer,
    r.config ->> '$.recipe.optimizer' AS optimizer,
    CAST(r.config ->> '$.label_noise' AS DOUBLE) AS label_noise,
    FALSE AS pixels_permuted,
    r.train_size,
    CAST(r.config ->> '$.seeds.init' AS BIGINT) AS seed_init,
    CAST(r.config ->> '$.seeds.order' AS BIGINT) AS seed_order,
    CAST(r.config ->> '$.seeds.labels' AS BIGINT) AS seed_labels,
    CAST(NULL AS INTEGER) AS frozen_depth,
    CAST(NULL AS BIGINT) AS frozen_from,
    FALSE AS replay,
    CAST(NULL AS VARCHAR) AS parent_run_id,
    CAST(NULL AS BIGINT) AS parent_step,
    r.config,
    CASE WHEN u.unit_id IS NULL THEN 'planned' ELSE 'finished' END AS status
FROM base.study_runs AS r
LEFT JOIN base.units AS u ON u.unit_id = r.run_id AND u.kind = 'metrics'
QUALIFY row_number() OVER (PARTITION BY r.run_id ORDER BY r.study, r.position) = 1;

CREATE VIEW checkpoints AS
SELECT
    run_id, step, epoch, sha256, bytes, printf('runs/%s/checkpoints/step-%08d.safetensors', run_id, step) AS path
FROM base.checkpoints
WHERE run_id IN (FROM base.wanted_runs);

CREATE VIEW metrics AS
SELECT run_id, step, epoch, split, mode, labels, n, correct, accuracy, loss, lr
FROM base.metrics
WHERE run_id IN (FROM base.wanted_runs);

CREATE VIEW evaluations AS
SELECT eval_id, dataset, split, n, classes, subset_sha256, labels, corruption, severity, config
FROM base.evaluations;

CREATE VIEW splices AS
SELECT
    run_id, shallow_run_id, control, replicate, eval_id, split, corruption, severity, cut, depth,
    shallow_step, deep_step, norm, dtype, batch_size, n, correct, accuracy, loss, margin,
    agreement, chance, retention, half_width,
    wilson_low(correct, n) AS accuracy_low, wilson_high(correct, n) AS accuracy_high
FROM base.splices
WHERE run_id IN (FROM base.wanted_runs);
