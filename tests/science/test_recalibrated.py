import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.matching import permute_channels
from featdyn_engine.science.recalibrated import recalibrated_cube
from featdyn_engine.science.recalibration import recalibrate
from featdyn_engine.science.splice import plain_predictions, splice_cube
from tests.science import small

N = 40
IMAGES, LABELS = small.examples(N, seed=1)
TRAINING = small.examples(60, seed=2)[0].split(20)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def networks() -> list[nn.Sequential]:
    return [small.convolutional(seed) for seed in range(3)]


def cube_of(
    networks: list[nn.Sequential], whole: bool, images: Tensor = IMAGES, labels: Tensor = LABELS
) -> SpliceCube:
    return recalibrated_cube(
        networks, networks, small.CUTS, images, labels, TRAINING, batch_size=16, whole=whole
    )


@pytest.fixture(scope="module", params=[True, False], ids=["recalibrate", "recalibrate_deep"])
def whole(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def cube(networks: list[nn.Sequential], whole: bool) -> SpliceCube:
    return cube_of(networks, whole)


def composite(
    shallow: nn.Sequential, deep: nn.Sequential, depth: int, whole: bool
) -> nn.Sequential:
    """By hand: the hybrid, then torch's own estimation of it, or of its deep part alone."""
    hybrid = copy.deepcopy(nn.Sequential(*list(shallow)[:depth], *list(deep)[depth:]))
    if whole:
        update_bn(TRAINING, hybrid)
    else:
        with torch.no_grad():
            update_bn([hybrid[:depth](x) for x in TRAINING], hybrid[depth:])
    return hybrid.eval()


def test_every_cell_is_the_hybrid_with_statistics_estimated_by_torch(
    networks: list[nn.Sequential], cube: SpliceCube, whole: bool
) -> None:
    before = small.states(networks)
    for d, depth in enumerate(small.CUTS):
        for s, shallow in enumerate(networks):
            for t, deep in enumerate(networks):
                with torch.no_grad():
                    logits = composite(shallow, deep, depth, whole)(IMAGES)
                best = logits.topk(2, dim=1).values
                clear = best[:, 0] - best[:, 1] > 1e-4
                guesses = logits.argmax(dim=1)
                assert torch.equal(cube.predicted[d, s, t].long()[clear], guesses[clear])
                loss = F.cross_entropy(logits.double(), LABELS)
                torch.testing.assert_close(cube.loss[d, s, t], loss, rtol=1e-4, atol=1e-4)
    assert (cube.n == N).all()
    assert small.untouched(networks, before)


def test_networks_and_their_statistics_stay_as_they_are(
    networks: list[nn.Sequential], whole: bool
) -> None:
    before = small.states(networks)
    cube_of(networks, whole)
    assert small.untouched(networks, before)


def test_the_two_modes_and_inherit_differ(networks: list[nn.Sequential]) -> None:
    one, other = cube_of(networks, whole=True), cube_of(networks, whole=False)
    inherit = splice_cube(networks, networks, small.CUTS, IMAGES, LABELS, batch_size=16)
    assert torch.isclose(one.loss, other.loss, rtol=1e-3).double().mean() < 0.1
    assert not torch.isclose(other.loss[:2], inherit.loss[:2], rtol=1e-3).any()
    # Behind the last cut there is no BatchNorm.
    torch.testing.assert_close(other.loss[2], inherit.loss[2])


def test_the_diagonal_is_the_network_with_its_statistics_estimated(
    networks: list[nn.Sequential],
) -> None:
    cube = cube_of(networks, whole=True)
    own = [copy.deepcopy(network) for network in networks]
    for network in own:
        recalibrate(network, TRAINING)
    plain = plain_predictions(own, IMAGES, batch_size=16)
    every = torch.arange(3)
    assert torch.equal(cube.predicted[:, every, every].long(), plain.expand(3, -1, -1))
    # Not the plain network: it is a cell of its own.
    assert not torch.equal(plain, plain_predictions(networks, IMAGES, batch_size=16))


def test_images_that_are_scored_never_influence_statistics(
    networks: list[nn.Sequential], cube: SpliceCube, whole: bool
) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    shuffled = cube_of(networks, whole, IMAGES[order], LABELS[order])
    assert torch.equal(shuffled.predicted, cube.predicted[..., order])
    torch.testing.assert_close(shuffled.loss, cube.loss, rtol=1e-5, atol=1e-6)
    # The first ten, beside strangers of another law.
    mixed = torch.cat([IMAGES[:10], 100 + 50 * IMAGES[10:]])
    found = cube_of(networks, whole, mixed, LABELS)
    assert torch.equal(found.predicted[..., :10], cube.predicted[..., :10])


def test_training_images_do_influence_them(
    networks: list[nn.Sequential], cube: SpliceCube, whole: bool
) -> None:
    others = [1 + 2 * x for x in TRAINING]
    found = recalibrated_cube(
        networks, networks, small.CUTS, IMAGES, LABELS, others, batch_size=16, whole=whole
    )
    cuts = 3 if whole else 2  # behind the last one there is no BatchNorm
    assert not torch.isclose(found.loss[:cuts], cube.loss[:cuts], rtol=1e-3).any()


def test_cuts_and_pairs_may_be_asked_for_alone(
    networks: list[nn.Sequential], cube: SpliceCube, whole: bool
) -> None:
    wanted = torch.tensor([[True, True], [False, True]])
    found = recalibrated_cube(
        networks[:2], networks[1:], [2], IMAGES, LABELS, TRAINING, 16, whole, wanted=wanted
    )
    assert torch.equal(found.n[0], N * wanted.long())
    for s, t in wanted.nonzero().tolist():
        assert torch.equal(found.loss[0, s, t], cube.loss[1, s, t + 1])
        assert torch.equal(found.predicted[0, s, t], cube.predicted[1, s, t + 1])


def test_features_are_adapted_alike_in_training_and_scoring(
    networks: list[nn.Sequential], whole: bool
) -> None:
    # The other network's first block has its channels in another order; undone, all is as before.
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = copy.deepcopy(networks[0])
    conv, norm = moved[0][0], moved[0][1]
    for tensor in (*conv.state_dict().values(), *norm.state_dict().values()):
        if tensor.ndim:
            tensor.copy_(tensor[order].clone())
    asked: set[tuple[int, int, int]] = set()

    def undo(depth: int, s: int, t: int, features: Tensor) -> Tensor:
        asked.add((depth, s, t))
        return permute_channels(features, order.argsort())

    found = recalibrated_cube(
        [moved], networks, [1], IMAGES, LABELS, TRAINING, 16, whole, adapt=undo
    )
    expected = cube_of(networks, whole)
    assert asked == {(1, 0, 0), (1, 0, 1), (1, 0, 2)}
    assert torch.equal(found.predicted[0, 0], expected.predicted[0, 0])
    torch.testing.assert_close(found.loss[0, 0], expected.loss[0, 0], rtol=1e-5, atol=1e-6)
    plain = recalibrated_cube([moved], networks, [1], IMAGES, LABELS, TRAINING, 16, whole)
    assert not torch.isclose(plain.loss[0, 0], expected.loss[0, 0], rtol=1e-3).any()


def test_batch_size_changes_roundings_alone(
    networks: list[nn.Sequential], cube: SpliceCube, whole: bool
) -> None:
    found = recalibrated_cube(
        networks, networks, small.CUTS, IMAGES, LABELS, TRAINING, batch_size=7, whole=whole
    )
    assert torch.equal(found.predicted, cube.predicted)
    torch.testing.assert_close(found.loss, cube.loss, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [True, False], ids=["every pair", "not the last pair"])
def test_progress_rises_to_one(networks: list[nn.Sequential], last: bool) -> None:
    wanted = torch.ones(3, 3, dtype=torch.bool)
    wanted[2, 2] = last
    heard: list[float] = []
    recalibrated_cube(
        networks, networks, small.CUTS, IMAGES, LABELS, TRAINING, 16, True,
        wanted=wanted, progress=heard.append,
    )  # fmt: skip
    assert heard == sorted(set(heard))
    assert heard[-1] == pytest.approx(1)


def test_what_cannot_be_spliced_is_refused(networks: list[nn.Sequential]) -> None:
    with pytest.raises(ValueError, match="depth: expected 1 to 3, got 4"):
        recalibrated_cube(networks, networks, [4], IMAGES, LABELS, TRAINING, 16, whole=True)
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        recalibrated_cube(networks, networks, [1], IMAGES[:0], LABELS[:0], TRAINING, 16, whole=True)
