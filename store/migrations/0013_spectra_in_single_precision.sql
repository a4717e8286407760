-- Eigenvalues and their null bands come of gradients in single precision and fill more of a store
-- of noise than all else: seven digits are what they have. The view still answers in doubles.
ALTER TABLE base.noise_spectra ALTER COLUMN eigenvalue SET DATA TYPE FLOAT;
ALTER TABLE base.noise_spectra ALTER COLUMN band_low SET DATA TYPE FLOAT;
ALTER TABLE base.noise_spectra ALTER COLUMN band_high SET DATA TYPE FLOAT;

CREATE OR REPLACE VIEW noise_spectra AS
SELECT
    r.run_id, eval_id, split, cut, depth, step, example, norm, batch_size, step_rule,
    representation, source, rank, CAST(eigenvalue AS DOUBLE) AS eigenvalue,
    CAST(band_low AS DOUBLE) AS band_low, CAST(band_high AS DOUBLE) AS band_high, n, p
FROM base.noise_spectra AS r JOIN base.units AS u ON u.unit_id = r.unit_id
WHERE r.run_id IN (FROM base.wanted_runs) AND batch_size IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY r.run_id, eval_id, cut, step, example, batch_size, step_rule, representation,
        source, rank
    ORDER BY u.finished_at DESC, u.unit_id
) = 1;
