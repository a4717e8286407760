-- Runs that freeze, replay or branch, and units that failed, with step and cause.
ALTER TABLE base.study_runs ADD COLUMN parent_run_id VARCHAR;
ALTER TABLE base.study_runs ADD COLUMN parent_step BIGINT;

CREATE TABLE base.failures (
    unit_id VARCHAR, kind VARCHAR, run_id VARCHAR, label VARCHAR, step BIGINT, reason VARCHAR,
    failed_at TIMESTAMP
);

-- A failure counts until its unit is finished after all.
CREATE VIEW base.standing_failures AS
SELECT f.* FROM base.failures AS f
ANTI JOIN base.units AS u ON u.unit_id = f.unit_id AND u.kind = f.kind;

CREATE OR REPLACE VIEW units AS
SELECT
    unit_id, kind, run_id, label, 'finished' AS status, row_count, seconds, finished_at, versions,
    CAST(NULL AS VARCHAR) AS reason
FROM base.units
WHERE run_id IS NULL OR run_id IN (FROM base.wanted_runs)
UNION ALL
SELECT
    unit_id, kind, run_id, label, 'failed' AS status, CAST(NULL AS BIGINT), CAST(NULL AS DOUBLE),
    failed_at, CAST(NULL AS VARCHAR), reason
FROM base.standing_failures
WHERE run_id IS NULL OR run_id IN (FROM base.wanted_runs);

-- A run may serve several studies; it is described once, by the first of them in the alphabet.
CREATE OR REPLACE VIEW runs AS
SELECT
    r.run_id,
    r.study,
    r.name,
    r.arm,
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
QUALIFY row_number() OVER (PARTITION BY r.run_id ORDER BY r.study, r.position) = 1;
