-- Feature trajectories: where each followed example lies and moves, and how far the picture of it
-- can be trusted, a row a checkpoint.
CREATE TABLE base.trajectories (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, method VARCHAR, step BIGINT, n BIGINT, example BIGINT, label INTEGER, x DOUBLE,
    y DOUBLE, displacement DOUBLE, speed DOUBLE, turning DOUBLE
);

CREATE TABLE base.trajectory_quality (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, method VARCHAR, step BIGINT, n BIGINT, k INTEGER, trustworthiness DOUBLE,
    continuity DOUBLE, neighbour_overlap DOUBLE, chance DOUBLE, pca_trustworthiness DOUBLE,
    pca_continuity DOUBLE, pca_neighbour_overlap DOUBLE, spearman DOUBLE, displacement DOUBLE,
    speed DOUBLE, turning_cosine DOUBLE, parameters VARCHAR, versions VARCHAR
);

-- A picture shows whole or not at all: that of the unit which ended last. Row by row, examples that
-- a later unit no longer follows would stand among those of another picture.
CREATE OR REPLACE VIEW trajectories AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, method, step, n, example, r.label, x, y,
    displacement, speed, turning
FROM base.trajectories AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY dense_rank() OVER (
    PARTITION BY r.run_id, eval_id, cut, method ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW trajectory_quality AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, method, step, n, k, trustworthiness, continuity,
    neighbour_overlap, chance, pca_trustworthiness, pca_continuity, pca_neighbour_overlap, spearman,
    displacement, speed, turning_cosine, parameters, r.versions
FROM base.trajectory_quality AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY dense_rank() OVER (
    PARTITION BY r.run_id, eval_id, cut, method ORDER BY u.finished_at DESC, u.unit_id
) = 1;
