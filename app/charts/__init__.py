"""Charts: a frame in, an ``altair.Chart`` out. No Streamlit, no store, no state."""

# Altair asks pandas for its types wherever pandas is loaded, by Streamlit that is: half loaded, in
# another visitor's thread, it hasn't got them yet. So it is loaded whole before any chart.
import pandas  # noqa: F401

from app.charts.beside import average_gains, barrier, horizon
from app.charts.classes import by_class
from app.charts.corruptions import corruption_heatmap, corruption_over_time, slopes
from app.charts.divergences import excess_by_lag
from app.charts.freezing import accuracy_by_setting, freezing
from app.charts.lab import PICKED, checkpoint_curve, class_shares, confusion
from app.charts.labels import retention_by_noise, score_by_noise
from app.charts.lags import lag_profile
from app.charts.matched import retention_against
from app.charts.matrices import (
    CELL,
    difference_heatmap,
    heatmap,
    selectable,
    thumbnail,
    thumbnail_link,
    thumbnail_links,
)
from app.charts.memory import flips_by_lag, gap_by_lag, induction, share_by_lag, share_heatmap
from app.charts.moving import COLOURINGS, trajectory, with_clock
from app.charts.noise import difference_to_control, noise_alignment, scree
from app.charts.probes import probe_against_splice, probe_heatmap, probes_by_depth
from app.charts.replays import replay_forest
from app.charts.runs import training_curves
from app.charts.scores import excess_forest, scores_by_depth
from app.charts.sensitivity import difference_forest, score_forest
from app.charts.style import ARM_COLOURS, epoch_label
from app.charts.trajectories import motion, overlap, pace, trust, turning

__all__ = [
    "ARM_COLOURS",
    "CELL",
    "COLOURINGS",
    "PICKED",
    "accuracy_by_setting",
    "average_gains",
    "barrier",
    "by_class",
    "checkpoint_curve",
    "class_shares",
    "confusion",
    "corruption_heatmap",
    "corruption_over_time",
    "difference_forest",
    "difference_heatmap",
    "difference_to_control",
    "epoch_label",
    "excess_by_lag",
    "excess_forest",
    "flips_by_lag",
    "freezing",
    "gap_by_lag",
    "heatmap",
    "horizon",
    "induction",
    "lag_profile",
    "motion",
    "noise_alignment",
    "overlap",
    "pace",
    "probe_against_splice",
    "probe_heatmap",
    "probes_by_depth",
    "replay_forest",
    "retention_against",
    "retention_by_noise",
    "score_by_noise",
    "score_forest",
    "scores_by_depth",
    "scree",
    "selectable",
    "share_by_lag",
    "share_heatmap",
    "slopes",
    "thumbnail",
    "thumbnail_link",
    "thumbnail_links",
    "training_curves",
    "trajectory",
    "trust",
    "turning",
    "with_clock",
]
