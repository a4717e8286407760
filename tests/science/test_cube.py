from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.science.consistency import chance
from featdyn_engine.science.cube import SpliceCube, Tally, margins
from tests.oracles import naive_chance, naive_scores

N, CLASSES, CELLS = 30, 4, 3
DEPTHS = (2, 5)
BATCHES = (slice(0, 11), slice(11, 30))


@pytest.fixture(scope="module")
def logits() -> Tensor:
    """Of 2 cuts, 3 shallow and 3 deep parts: (D, S, T, N, K)."""
    stream = torch.Generator().manual_seed(0)
    return 3 * torch.randn(len(DEPTHS), CELLS, CELLS, N, CLASSES, generator=stream)


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.randint(CLASSES, (N,), generator=torch.Generator().manual_seed(1))


def tallied(
    logits: Tensor, labels: Tensor, examples: Sequence[slice | Tensor] = BATCHES, **kind: bool
) -> SpliceCube:
    tally = Tally(DEPTHS, CELLS, CELLS, labels, logits.shape[-1], **kind)
    for d, s, t in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).tolist():
        for some in examples:
            returned = tally.record(d, s, t, some, logits[d, s, t, some])
            assert torch.equal(returned, logits[d, s, t, some].argmax(dim=1))
    return tally.cube()


def test_a_cube_scores_as_the_definitions_say_example_by_example(
    logits: Tensor, labels: Tensor
) -> None:
    cube = tallied(logits, labels)
    assert (cube.depths, cube.classes, cube.seen) == (DEPTHS, CLASSES, None)
    assert (cube.n == N).all()
    every = torch.arange(CELLS)
    agreement = cube.agreement(cube.predicted[:, every, every])
    for d in range(len(DEPTHS)):
        expected = {k: torch.from_numpy(v) for k, v in naive_scores(logits[d], labels).items()}
        assert torch.equal(cube.correct(labels)[d], expected["correct"])
        torch.testing.assert_close(cube.loss[d], expected["loss"], rtol=0, atol=1e-9)
        torch.testing.assert_close(cube.margin[d], expected["margin"], rtol=0, atol=1e-9)
        torch.testing.assert_close(agreement[d], expected["agreement"])
        shares = expected["predicted"].double() / N
        torch.testing.assert_close(cube.predicted_shares()[d], shares)


def test_agreement_with_one_reference_for_all_cuts(logits: Tensor, labels: Tensor) -> None:
    cube = tallied(logits, labels)
    reference = torch.randint(CLASSES, (CELLS, N), generator=torch.Generator().manual_seed(2))
    expected = (logits.argmax(dim=-1) == reference).double().mean(dim=-1)
    torch.testing.assert_close(cube.agreement(reference), expected)
    torch.testing.assert_close(cube.at(5).agreement(reference), expected[1:])


def test_one_cut_alone(logits: Tensor, labels: Tensor) -> None:
    cube = tallied(logits, labels)
    alone = cube.at(5)
    assert alone.depths == (5,)
    assert torch.equal(alone.correct(labels)[0], cube.correct(labels)[1])
    assert torch.equal(alone.loss[0], cube.loss[1])
    with pytest.raises(ValueError, match="not in tuple"):
        cube.at(3)


def test_only_examples_that_were_evaluated_count(logits: Tensor, labels: Tensor) -> None:
    some = torch.tensor([3, 28, 0, 11, 7])
    cube = tallied(logits, labels, [some[:2], some[2:]], partial=True)
    whole = tallied(logits, labels)
    assert cube.seen is not None
    assert cube.at(2).seen is not None
    assert torch.equal(cube.seen.sum(dim=-1), cube.n)
    assert (cube.n == 5).all()
    guesses = logits[..., some, :].argmax(dim=-1)
    assert torch.equal(cube.correct(labels), (guesses == labels[some]).sum(dim=-1))
    reference = whole.predicted[0, 0]
    torch.testing.assert_close(
        cube.agreement(reference), (guesses == reference[:, some]).double().mean(dim=-1)
    )
    # Classes not evaluated are stored as 0, and must not count as predictions of class 0.
    torch.testing.assert_close(
        cube.predicted_shares()[..., 0], (guesses == 0).double().mean(dim=-1)
    )
    loss = F.cross_entropy(logits[1, 0, 2, some].double(), labels[some])
    torch.testing.assert_close(cube.loss[1, 0, 2], loss)


def test_a_pair_that_was_left_out_has_no_scores(labels: Tensor) -> None:
    tally = Tally((1,), 1, 2, labels, CLASSES)
    tally.record(0, 0, 1, slice(None), torch.zeros(N, CLASSES))
    cube = tally.cube()
    assert cube.n.tolist() == [[[0, N]]]
    assert cube.loss.isnan().tolist() == [[[True, False]]]
    assert cube.margin.isnan().tolist() == [[[True, False]]]
    # What is stored for it, class 0, must not count.
    assert cube.agreement(cube.predicted[0, 0]).isnan().tolist() == [[[True, False]]]
    assert cube.predicted_shares()[0, 0].isnan().tolist() == [[True] * 4, [False] * 4]
    assert cube.correct(labels)[0, 0].tolist() == [0, int((labels == 0).sum())]


def test_predictions_take_one_byte_and_two_beyond_256_classes(labels: Tensor) -> None:
    assert Tally((1,), 1, 1, labels, 256).cube().predicted.dtype == torch.uint8
    tally = Tally((1,), 1, 1, labels, 300)
    logits = F.one_hot(torch.arange(N) + 270, 300).float()
    tally.record(0, 0, 0, slice(None), logits)
    assert tally.cube().predicted[0, 0, 0].tolist() == list(range(270, 300))


def test_sums_are_kept_in_double_precision(labels: Tensor) -> None:
    # A million examples with a loss that float32 sums get wrong in the fourth digit.
    big = labels[:1].expand(1_000_000)
    tally = Tally((1,), 1, 1, big, CLASSES)
    logits = torch.full((1, CLASSES), 0.1)
    logits[0, int(labels[0])] = 0.3
    for some in (slice(0, 400_000), slice(400_000, 1_000_000)):
        tally.record(0, 0, 0, some, logits.expand(len(big[some]), CLASSES))
    expected = F.cross_entropy(logits.double(), labels[:1])
    torch.testing.assert_close(tally.cube().loss[0, 0, 0], expected, rtol=1e-12, atol=0)


def test_margin_is_the_true_logit_minus_the_largest_other() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [-3.0, -3.0, -5.0]])
    assert margins(logits, torch.tensor([1, 0, 0])).tolist() == [2.0, -3.0, 0.0]


@pytest.mark.parametrize("kind", ["constant", "random"])
def test_chance_of_constant_and_random_predictors(kind: str) -> None:
    stream = torch.Generator().manual_seed(4)
    labels = torch.tensor([0] * 500 + [1] * 300 + [2] * 200)
    guesses = torch.full((1000,), 1)
    if kind == "random":
        guesses = torch.randint(3, (1000,), generator=stream)
    tally = Tally((1,), 1, 1, labels, 3)
    tally.record(0, 0, 0, slice(None), F.one_hot(guesses, 3).float())
    cube = tally.cube()
    shares = torch.bincount(labels, minlength=3).double() / 1000
    found = float(chance(shares, cube.predicted_shares())[0, 0, 0])
    assert found == pytest.approx(naive_chance(labels.tolist(), guesses.tolist()))
    accuracy = float(cube.correct(labels)[0, 0, 0]) / 1000
    if kind == "constant":
        # The share of the one class, whatever is predicted: its accuracy is chance, exactly.
        assert found == pytest.approx(0.3)
        assert accuracy == pytest.approx(found)
    else:
        assert found == pytest.approx(1 / 3, abs=0.02)
        assert accuracy == pytest.approx(found, abs=4 * (1 / 3 * 2 / 3 / 1000) ** 0.5)
