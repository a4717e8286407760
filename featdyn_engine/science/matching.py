"""Channels of one run matched with those of another by the correlation of their activations.

After Li, Yosinski, Clune, Lipson & Hopcroft, "Convergent Learning: Do different neural networks
learn the same representations?" (2016, arXiv 1511.07543): their one-to-one matching, an
assignment that maximises the sum of correlations.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def channels_last_rows(features: Tensor) -> Tensor:
    """Return features as rows of channels: every position of every example is a row.

    (N, C, H, W) to (N * H * W, C); (N, tokens, width) to (N * tokens, width); (N, width) as it
    is. Raises ValueError for another number of dimensions.
    """
    if features.ndim == 4:
        return features.permute(0, 2, 3, 1).flatten(0, 2)
    if features.ndim in (2, 3):
        return features.flatten(0, -2)
    raise ValueError(f"features: expected 2, 3 or 4 dimensions, got {features.ndim}")


def permute_channels(features: Tensor, order: Tensor) -> Tensor:
    """Return features whose channel i is channel order[i]: of any shape of ``channels_last_rows``.

    order: int64 (C,), on the device of the features.
    """
    return features[:, order] if features.ndim == 4 else features[..., order]


class ChannelCorrelation:
    """Collects, mini-batch by mini-batch, the correlation of channels of two networks.

    Sums are float64, of deviations from the first row: no digits are lost on channels whose mean
    is large, and a constant channel has a variance of exactly zero.
    """

    def __init__(self) -> None:
        self._rows = 0

    def add(self, a: Tensor, b: Tensor) -> None:
        """Count a mini-batch: features of both networks on the same examples, in one order.

        a: C channels, b: C' channels, of one of the shapes of ``channels_last_rows``. Raises
        ValueError where their rows differ in number, or there are none.
        """
        rows_a, rows_b = (_double(channels_last_rows(each)) for each in (a, b))
        if len(rows_a) != len(rows_b) or not len(rows_a):
            raise ValueError(
                f"features: expected the same rows of both networks, at least one, got "
                f"{len(rows_a)} and {len(rows_b)}; take the same images and the same cut"
            )
        if not self._rows:
            self._first_a, self._first_b = rows_a[0].clone(), rows_b[0].clone()
            self._sum_a, self._sum_b = torch.zeros_like(rows_a[0]), torch.zeros_like(rows_b[0])
            self._squares_a, self._squares_b = self._sum_a.clone(), self._sum_b.clone()
            self._products = rows_a.new_zeros(rows_a.shape[1], rows_b.shape[1])
        rows_a, rows_b = rows_a - self._first_a, rows_b - self._first_b
        self._rows += len(rows_a)
        self._sum_a += rows_a.sum(dim=0)
        self._sum_b += rows_b.sum(dim=0)
        self._squares_a += rows_a.square().sum(dim=0)
        self._squares_b += rows_b.square().sum(dim=0)
        self._products += rows_a.T @ rows_b

    def result(self) -> Tensor:
        """Return Pearson's correlation of each pair of channels, float64 (C, C'), -1 to 1.

        It is 0 for a constant channel (a dead one, for instance), where it isn't defined.
        Raises ValueError before anything was added.
        """
        if not self._rows:
            raise ValueError("features: expected at least one mini-batch, got none")
        covariance = self._products - torch.outer(self._sum_a, self._sum_b) / self._rows
        spread_a = (self._squares_a - self._sum_a.square() / self._rows).clamp(min=0).sqrt()
        spread_b = (self._squares_b - self._sum_b.square() / self._rows).clamp(min=0).sqrt()
        scale = torch.outer(spread_a, spread_b)
        return torch.where(scale > 0, covariance / scale, 0).clamp(-1, 1)


def _double(rows: Tensor) -> Tensor:
    # MPS has no double precision.
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def channel_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of channels of two networks on one batch: float64 (C, C').

    a, b: features of the same examples, as ``ChannelCorrelation.add`` takes them.
    """
    collected = ChannelCorrelation()
    collected.add(a, b)
    return collected.result()


def matched_order(correlation: Tensor) -> Tensor:
    """Assign to each channel of this run another of the other run, the sum of correlations maximal.

    correlation: (C, C), rows: channels of this run, columns: of the other. Returns int64 (C,), a
    permutation p, on the CPU: channel p[i] of the other run takes the place of channel i of this
    one, so that ``permute_channels(features_of_the_other, p)`` speaks this run's order. Channels
    that correlate with none (dead ones) get what is left. Raises ValueError unless square and
    finite.
    """
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1]:
        raise ValueError(
            f"correlation: expected as many channels in both runs, got {tuple(correlation.shape)}"
        )
    if not bool(correlation.isfinite().all()):
        raise ValueError(
            "correlation: expected finite numbers, got NaN or infinity; a network has diverged"
        )
    _, columns = linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    return torch.from_numpy(columns).long()
