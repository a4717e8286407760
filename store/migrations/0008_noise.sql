-- Noise of SGD: spectra, tests of sphericity beside the isotropic control, alignment with drift.
CREATE TABLE base.noise_spectra (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    step BIGINT, example BIGINT, norm VARCHAR, source VARCHAR, rank INTEGER, eigenvalue DOUBLE,
    band_low DOUBLE, band_high DOUBLE, n BIGINT, p BIGINT
);

CREATE TABLE base.noise_tests (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    step BIGINT, example BIGINT, norm VARCHAR, source VARCHAR, lr DOUBLE, augmentation VARCHAR,
    pr_sign DOUBLE, pr_sign_low DOUBLE, pr_sign_high DOUBLE, participation_ratio DOUBLE,
    participation_ratio_isotropic DOUBLE, first_share DOUBLE, first_share_isotropic DOUBLE,
    components_90 DOUBLE, components_90_isotropic DOUBLE, effective_rank DOUBLE,
    effective_rank_isotropic DOUBLE, slope DOUBLE, slope_isotropic DOUBLE, slope_first INTEGER,
    slope_last INTEGER, edge_low DOUBLE, edge_high DOUBLE, mauchly DOUBLE, mauchly_p DOUBLE,
    john DOUBLE, john_p DOUBLE, ledoit_wolf DOUBLE, ledoit_wolf_p DOUBLE, tracy_widom DOUBLE,
    tracy_widom_p DOUBLE, spatial_sign DOUBLE, spatial_sign_p DOUBLE, mauchly_null VARCHAR,
    delta DOUBLE, delta_low DOUBLE, delta_high DOUBLE, delta_p DOUBLE, delta_p_holm DOUBLE,
    delta_p_bh DOUBLE, verdict VARCHAR, n BIGINT, p BIGINT
);

CREATE TABLE base.noise_alignment (
    unit_id VARCHAR, run_id VARCHAR, eval_id VARCHAR, split VARCHAR, cut VARCHAR, depth INTEGER,
    step BIGINT, example BIGINT, norm VARCHAR, later_step BIGINT, source VARCHAR, k INTEGER,
    alignment DOUBLE, uniform DOUBLE, uniform_low DOUBLE, uniform_high DOUBLE, features DOUBLE,
    features_low DOUBLE, features_high DOUBLE, m INTEGER, overlap DOUBLE, overlap_random DOUBLE,
    n BIGINT, p BIGINT
);

CREATE OR REPLACE VIEW noise_spectra AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, source, rank, eigenvalue,
    band_low, band_high, n, p
FROM base.noise_spectra AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, source, rank
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW noise_tests AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, source, lr, augmentation,
    pr_sign, pr_sign_low, pr_sign_high, participation_ratio, participation_ratio_isotropic,
    first_share, first_share_isotropic, components_90, components_90_isotropic, effective_rank,
    effective_rank_isotropic, slope, slope_isotropic, slope_first, slope_last, edge_low,
    edge_high, mauchly, mauchly_p, john, john_p, ledoit_wolf, ledoit_wolf_p, tracy_widom,
    tracy_widom_p, spatial_sign, spatial_sign_p, mauchly_null, delta, delta_low, delta_high,
    delta_p, delta_p_holm, delta_p_bh, verdict, n, p
FROM base.noise_tests AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, source
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;

CREATE OR REPLACE VIEW noise_alignment AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, later_step, source, k, alignment,
    uniform, uniform_low, uniform_high, features, features_low, features_high, m, overlap,
    overlap_random, n, p
FROM base.noise_alignment AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs)
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, source
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
