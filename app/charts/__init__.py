"""Charts: a frame in, an ``altair.Chart`` out. No Streamlit, no store, no state."""

from app.charts.beside import barrier, horizon
from app.charts.lags import lag_profile
from app.charts.matched import retention_against
from app.charts.matrices import difference_heatmap, heatmap, thumbnail, thumbnail_link
from app.charts.noise import scree
from app.charts.probes import probe_against_splice, probe_heatmap, probes_by_depth
from app.charts.runs import training_curves
from app.charts.scores import excess_forest, scores_by_depth
from app.charts.style import ARM_COLOURS, epoch_label

__all__ = [
    "ARM_COLOURS",
    "barrier",
    "difference_heatmap",
    "epoch_label",
    "excess_forest",
    "heatmap",
    "horizon",
    "lag_profile",
    "probe_against_splice",
    "probe_heatmap",
    "probes_by_depth",
    "retention_against",
    "scores_by_depth",
    "scree",
    "thumbnail",
    "thumbnail_link",
    "training_curves",
]
