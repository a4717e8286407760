"""Charts: a frame in, an ``altair.Chart`` out. No Streamlit, no store, no state."""

from app.charts.beside import barrier, horizon
from app.charts.corruptions import corruption_heatmap, corruption_over_time, slopes
from app.charts.divergences import excess_by_lag
from app.charts.freezing import accuracy_by_setting, freezing
from app.charts.labels import retention_by_noise, score_by_noise
from app.charts.lags import lag_profile
from app.charts.matched import retention_against
from app.charts.matrices import difference_heatmap, heatmap, thumbnail, thumbnail_link
from app.charts.noise import scree
from app.charts.probes import probe_against_splice, probe_heatmap, probes_by_depth
from app.charts.replays import replay_forest
from app.charts.runs import training_curves
from app.charts.scores import excess_forest, scores_by_depth
from app.charts.sensitivity import difference_forest, score_forest
from app.charts.style import ARM_COLOURS, epoch_label
from app.charts.trajectories import motion, overlap, trajectory, trust, turning

__all__ = [
    "ARM_COLOURS",
    "accuracy_by_setting",
    "barrier",
    "corruption_heatmap",
    "corruption_over_time",
    "difference_forest",
    "difference_heatmap",
    "epoch_label",
    "excess_by_lag",
    "excess_forest",
    "freezing",
    "heatmap",
    "horizon",
    "lag_profile",
    "motion",
    "overlap",
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
    "slopes",
    "thumbnail",
    "thumbnail_link",
    "training_curves",
    "trajectory",
    "trust",
    "turning",
]
