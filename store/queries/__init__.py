"""Reads: one named function a question, a connection in, a polars frame out.

They lie in modules by subject; callers take them from here, the app by name.
"""

from store.queries.cells import (
    asymmetry,
    connectivity,
    displacement_cells,
    evaluation_sets,
    lag_profile,
    matched_points,
    splice_cells,
    splice_choices,
)
from store.queries.corruptions import corrupted_scores, corruption_errors, corruptions
from store.queries.divergences import bound_terms, divergences
from store.queries.freezing import freezing
from store.queries.noise import noise_alignment, noise_spectra, noise_tests
from store.queries.predictions import per_class, prediction_pair
from store.queries.probes import probe_agreement, probe_points, probes
from store.queries.replay import replay
from store.queries.retentions import corrupted_retentions, retentions
from store.queries.runs import (
    checkpoints,
    control_runs,
    final_training_accuracy,
    metrics,
    studies,
    study_runs,
    unit_counts,
)
from store.queries.scores import (
    comparators,
    consistency_scores,
    excesses,
    horizons,
    scores_over_seeds,
)
from store.queries.sensitivity import arm_settings, sensitivity
from store.queries.trajectories import trajectories, trajectory_pictures, trajectory_quality
from store.queries.upkeep import orphan_rows, stored_units

__all__ = [
    "arm_settings",
    "asymmetry",
    "bound_terms",
    "checkpoints",
    "comparators",
    "connectivity",
    "consistency_scores",
    "control_runs",
    "corrupted_retentions",
    "corrupted_scores",
    "corruption_errors",
    "corruptions",
    "displacement_cells",
    "divergences",
    "evaluation_sets",
    "excesses",
    "final_training_accuracy",
    "freezing",
    "horizons",
    "lag_profile",
    "matched_points",
    "metrics",
    "noise_alignment",
    "noise_spectra",
    "noise_tests",
    "orphan_rows",
    "per_class",
    "prediction_pair",
    "probe_agreement",
    "probe_points",
    "probes",
    "replay",
    "retentions",
    "scores_over_seeds",
    "sensitivity",
    "splice_cells",
    "splice_choices",
    "stored_units",
    "studies",
    "study_runs",
    "trajectories",
    "trajectory_pictures",
    "trajectory_quality",
    "unit_counts",
]
