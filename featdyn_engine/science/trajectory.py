"""How each example's features move from checkpoint to checkpoint, in the original space.

With h_t(x) the features of example x at checkpoint t, E the mean over examples:

- displacement_t(x) = ||h_t(x) - h_{t-1}(x)|| / sqrt(E||h_t - E h_t||^2): a length, in units of the
  spread of the features at t. The mean of its square is the displacement of
  ``featdyn_engine.science.displacement`` from t-1 to t.
- speed_t(x) = displacement_t(x) / (cumulative learning rate at t minus that at t-1).
- turning_t(x) = cosine of the angle between h_t(x) - h_{t-1}(x) and h_{t+1}(x) - h_t(x): 1 on a
  straight line, about 0 for a random walk in many dimensions, about -0.5 where the features jitter
  independently around one place.

All three are this project's operationalisation; nothing here sees an embedding.
"""

import torch
from torch import Tensor

# A variance under this share of the mean square is what float32 leaves of none.
NO_SPREAD = 1e-12


def _checked(features: Tensor) -> None:
    if features.ndim != 3 or features.shape[1] < 2:
        raise ValueError(
            f"features: expected (T, N, F) with N of at least 2, got {tuple(features.shape)}"
        )


def displacements(features: Tensor) -> Tensor:
    """Return how far each example moved from the checkpoint before, float64 (T, N).

    features: (T, N, F), checkpoints in order. NaN at the first checkpoint, and at one where the
    features are the same for every example. Raises ValueError for another shape or N < 2.
    """
    _checked(features)
    found = torch.full(features.shape[:2], torch.nan, dtype=torch.float64)
    before = features[0].double()
    for t, each in enumerate(features[1:], start=1):
        now = each.double()
        spread = (now - now.mean(dim=0)).square().sum(dim=1).mean()
        if spread > NO_SPREAD * now.square().sum(dim=1).mean():
            found[t] = torch.linalg.vector_norm(now - before, dim=1) / spread.sqrt()
        before = now
    return found


def speeds(displacement: Tensor, positions: Tensor) -> Tensor:
    """Return displacement per unit of training, float64 of the shape of ``displacement``.

    displacement: (T,) or (T, N), as ``displacements``; positions: float64 (T,), not falling: the
    cumulative learning rate of each checkpoint. NaN where a checkpoint is no further than the one
    before. Raises ValueError for another number of positions.
    """
    if positions.shape != displacement.shape[:1]:
        raise ValueError(
            f"positions: expected {len(displacement)} of them, got {tuple(positions.shape)}"
        )
    gaps = positions.double().diff(prepend=positions.new_full((1,), torch.nan).double())
    gaps = gaps.where(gaps > 0, torch.nan)
    return displacement / gaps.reshape(-1, *[1] * (displacement.ndim - 1))


def turning_cosines(features: Tensor) -> Tensor:
    """Return the cosine between the moves to and from each checkpoint, float64 (T, N), -1 to 1.

    features: (T, N, F), checkpoints in order. NaN at the first and the last checkpoint, and where
    an example did not move on one side. Expectation -0.5 for independent draws around a place
    fixed for each example, 0 for a random walk; the fewer dimensions, the wider the scatter.
    Raises ValueError for another shape or N < 2.
    """
    _checked(features)
    found = torch.full(features.shape[:2], torch.nan, dtype=torch.float64)
    for t in range(1, len(features) - 1):
        to = features[t].double() - features[t - 1].double()
        onward = features[t + 1].double() - features[t].double()
        lengths = torch.linalg.vector_norm(to, dim=1) * torch.linalg.vector_norm(onward, dim=1)
        cosine = ((to * onward).sum(dim=1) / lengths).clamp(-1, 1)
        found[t] = cosine.where(lengths > 0, torch.nan)
    return found
