"""Charts: a frame in, an ``altair.Chart`` out. No Streamlit, no store, no state."""

from app.charts.beside import barrier, horizon
from app.charts.divergences import excess_by_lag
from app.charts.lags import lag_profile
from app.charts.matched import retention_against
from app.charts.matrices import difference_heatmap, heatmap, thumbnail, thumbnail_link
from app.charts.runs import training_curves
from app.charts.scores import excess_forest, scores_by_depth
from app.charts.style import ARM_COLOURS, epoch_label

__all__ = [
    "ARM_COLOURS",
    "barrier",
    "difference_heatmap",
    "epoch_label",
    "excess_by_lag",
    "excess_forest",
    "heatmap",
    "horizon",
    "lag_profile",
    "retention_against",
    "scores_by_depth",
    "thumbnail",
    "thumbnail_link",
    "training_curves",
]
