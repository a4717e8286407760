-- Noise of several batch sizes and step rules side by side, of features as channel means or in a
-- projection; and of trajectories: each network's own prediction, contours, and the images.
ALTER TABLE base.noise_spectra ADD COLUMN batch_size INTEGER;
ALTER TABLE base.noise_spectra ADD COLUMN step_rule VARCHAR;
ALTER TABLE base.noise_spectra ADD COLUMN representation VARCHAR;
ALTER TABLE base.noise_tests ADD COLUMN batch_size INTEGER;
ALTER TABLE base.noise_tests ADD COLUMN step_rule VARCHAR;
ALTER TABLE base.noise_tests ADD COLUMN representation VARCHAR;
ALTER TABLE base.noise_tests ADD COLUMN optimizer_state VARCHAR;
ALTER TABLE base.noise_alignment ADD COLUMN batch_size INTEGER;
ALTER TABLE base.noise_alignment ADD COLUMN step_rule VARCHAR;
ALTER TABLE base.noise_alignment ADD COLUMN representation VARCHAR;
ALTER TABLE base.trajectories ADD COLUMN predicted_label INTEGER;

CREATE TABLE base.trajectory_contours (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    norm VARCHAR, method VARCHAR, step BIGINT, n BIGINT, label INTEGER, mass DOUBLE, path INTEGER,
    x FLOAT[], y FLOAT[]
);

CREATE TABLE base.trajectory_images (
    unit_id VARCHAR, eval_id VARCHAR, example BIGINT, png BLOB
);

-- Rows of parts that are older than the new columns would have no key; their units are planned
-- anew under other ids.
CREATE OR REPLACE VIEW noise_spectra AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, batch_size, step_rule,
    representation, source, rank, eigenvalue, band_low, band_high, n, p
FROM base.noise_spectra AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs) AND batch_size IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, batch_size, step_rule, representation,
        source, rank
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW noise_tests AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, batch_size, step_rule,
    representation, source, lr, augmentation, optimizer_state, pr_sign, pr_sign_low, pr_sign_high,
    participation_ratio, participation_ratio_isotropic, first_share, first_share_isotropic,
    components_90, components_90_isotropic, effective_rank, effective_rank_isotropic, slope,
    slope_isotropic, slope_first, slope_last, edge_low, edge_high, mauchly, mauchly_p, john,
    john_p, ledoit_wolf, ledoit_wolf_p, tracy_widom, tracy_widom_p, spatial_sign, spatial_sign_p,
    mauchly_null, delta, delta_low, delta_high, delta_p, delta_p_holm, delta_p_bh, verdict, n, p
FROM base.noise_tests AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs) AND batch_size IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, batch_size, step_rule, representation,
        source
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW noise_alignment AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, batch_size, step_rule,
    representation, later_step, source, k, alignment, uniform, uniform_low, uniform_high,
    features, features_low, features_high, m, overlap, overlap_random, n, p
FROM base.noise_alignment AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs) AND batch_size IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, batch_size, step_rule, representation,
        source
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW trajectories AS
SELECT
    r.run_id, eval_id, split, cut, depth, norm, method, step, n, example, r.label, predicted_label, x, y,
    displacement, speed, turning
FROM base.trajectories AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY dense_rank() OVER (
    PARTITION BY r.run_id, eval_id, cut, method ORDER BY u.finished_at DESC, u.unit_id
) = 1;

-- A class of few examples has no contour, so that whose contours show is asked of the points: a
-- later picture without any must not leave an earlier one's around it.
CREATE OR REPLACE VIEW trajectory_contours AS
SELECT
    r.run_id, r.eval_id, split, r.cut, depth, norm, r.method, step, n, r.label, mass, path, x, y
FROM base.trajectory_contours AS r
JOIN (
    SELECT t.unit_id, t.run_id, eval_id, cut, method
    FROM (
        SELECT DISTINCT unit_id, run_id, eval_id, cut, method FROM base.trajectories
    ) AS t JOIN base.units AS u ON u.unit_id = t.unit_id
    WHERE t.run_id IN (FROM base.wanted_runs)
    QUALIFY row_number() OVER (
        PARTITION BY t.run_id, eval_id, cut, method ORDER BY u.finished_at DESC, u.unit_id
    ) = 1
) AS last
    ON last.unit_id = r.unit_id AND last.run_id = r.run_id AND last.eval_id = r.eval_id
    AND last.cut = r.cut AND last.method = r.method;

CREATE OR REPLACE VIEW trajectory_images AS
SELECT eval_id, example, png
FROM base.trajectory_images AS r JOIN base.units AS u ON u.unit_id = r.unit_id
QUALIFY row_number() OVER (
    PARTITION BY eval_id, example ORDER BY u.finished_at DESC, u.unit_id
) = 1;
