import math

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.domain import NetworkConfig
from featdyn_engine.models.registry import build
from featdyn_engine.science.comparators import ensemble_logits, past, score
from tests.cases import DIGITS


class Fixed(nn.Module):
    """Says the same whatever it sees: logits that give these probabilities."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log() + 5

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


IMAGES = torch.zeros(3, 1)


def test_an_ensemble_means_probabilities_by_hand() -> None:
    # 0.9 + 0.2 + 0.2 against 0.1 + 0.8 + 0.8: the mean is 13/30 and 17/30.
    members = [Fixed(0.9, 0.1), Fixed(0.2, 0.8), Fixed(0.2, 0.8)]
    logits = ensemble_logits(members, IMAGES, 2)
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.exp(), torch.tensor([[13 / 30, 17 / 30]] * 3).double())
    found = score(logits, torch.tensor([0, 1, 1]))
    assert (found.n, found.correct) == (3, 2)
    assert found.loss == pytest.approx(-(math.log(13 / 30) + 2 * math.log(17 / 30)) / 3)


def test_it_means_probabilities_and_not_logits() -> None:
    # Means of logits would give the first class 0.85.
    members = [Fixed(0.999, 0.001), Fixed(0.3, 0.7), Fixed(0.3, 0.7)]
    found = ensemble_logits(members, IMAGES[:1], 1).exp()[0, 0]
    assert float(found) == pytest.approx((0.999 + 0.6) / 3)


def test_a_probability_too_small_for_a_number_has_a_logarithm() -> None:
    members = [Fixed(1.0, 1.0) for _ in range(2)]
    for member in members:
        member.logits = torch.tensor([0.0, -2000.0])
    found = ensemble_logits(members, IMAGES[:1], 1)
    assert found[0].tolist() == pytest.approx([0, -2000])
    assert score(found, torch.tensor([1])).loss == pytest.approx(2000)


def test_an_ensemble_of_equal_networks_is_that_network() -> None:
    network = build(NetworkConfig(name="resnet20"), DIGITS).eval()
    images = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images).double().log_softmax(dim=1)
    alone = ensemble_logits([network], images, 9)
    assert torch.equal(alone, expected)
    torch.testing.assert_close(ensemble_logits([network] * 5, images, 9), alone)
    labels = torch.arange(9)
    assert score(ensemble_logits([network] * 5, images, 4), labels).loss == pytest.approx(
        score(expected, labels).loss
    )


def test_a_score_is_the_same_of_logits_and_of_logarithms_of_probabilities() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]])
    labels = torch.tensor([1, 0])
    found = score(logits, labels)
    by_hand = [
        math.log(math.e + math.e**2 + math.exp(-1)) - 2,
        math.log(1 + math.exp(0.5) + math.e**3),
    ]
    assert (found.n, found.correct) == (2, 1)
    assert found.loss == pytest.approx(sum(by_hand) / 2)
    assert score(logits.log_softmax(dim=1), labels).loss == pytest.approx(found.loss)


@pytest.mark.parametrize(
    ("steps", "share", "late"),
    [
        ([0, 1, 5, 7, 10], 0.5, [5, 7, 10]),
        ([0, 1, 5, 7, 10], 0.7, [7, 10]),
        ([0, 1, 5, 7, 10], 0.71, [10]),
        # In floating point 0.55 * 100 > 55.
        ([0, 54, 55, 100], 0.55, [55, 100]),
        ([0, 4, 10], 1.0, [10]),
        ([0, 4, 10], 0.0, [0, 4, 10]),
        ([0], 0.5, [0]),
    ],
)
def test_checkpoints_past_a_share_of_the_steps(
    steps: list[int], share: float, late: list[int]
) -> None:
    assert past(steps, share) == late
