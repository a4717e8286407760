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
from store.queries.lab import stored_cell, stored_changes, stored_classes
from store.queries.memory import (
    example_memory,
    induction,
    induction_points,
    memory_cells,
    memory_choices,
    memory_over_seeds,
    transfer_gaps,
)
from store.queries.noise import noise_alignment, noise_spectra, noise_tests
from store.queries.predictions import prediction_pair
from store.queries.probes import probe_agreement, probe_points, probes
from store.queries.replay import replay
from store.queries.retentions import corrupted_retentions, retentions
from store.queries.runs import (
    checkpoints,
    control_runs,
    final_accuracies,
    final_training_accuracy,
    integrity_flags,
    metrics,
    studies,
    study_contents,
    study_runs,
    study_summaries,
    unit_counts,
    unit_versions,
)
from store.queries.scores import (
    comparators,
    consistency_scores,
    excesses,
    horizons,
    scores_over_seeds,
)
from store.queries.sensitivity import arm_settings, sensitivity
from store.queries.trajectories import (
    trajectories,
    trajectory_contours,
    trajectory_images,
    trajectory_pictures,
    trajectory_quality,
)
from store.queries.upkeep import orphan_rows, preview, stored_units, view_columns

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
    "example_memory",
    "excesses",
    "final_accuracies",
    "final_training_accuracy",
    "freezing",
    "horizons",
    "induction",
    "induction_points",
    "integrity_flags",
    "lag_profile",
    "matched_points",
    "memory_cells",
    "memory_choices",
    "memory_over_seeds",
    "metrics",
    "noise_alignment",
    "noise_spectra",
    "noise_tests",
    "orphan_rows",
    "prediction_pair",
    "preview",
    "probe_agreement",
    "probe_points",
    "probes",
    "replay",
    "retentions",
    "scores_over_seeds",
    "sensitivity",
    "splice_cells",
    "splice_choices",
    "stored_cell",
    "stored_changes",
    "stored_classes",
    "stored_units",
    "studies",
    "study_contents",
    "study_runs",
    "study_summaries",
    "trajectories",
    "trajectory_contours",
    "trajectory_images",
    "trajectory_pictures",
    "trajectory_quality",
    "transfer_gaps",
    "unit_counts",
    "unit_versions",
    "view_columns",
]
