import copy
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from featdyn_engine.randomness import generator
from featdyn_engine.science import controls
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.displaced import Displace, displaced_cube, random_parameters_cube
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.splice import plain_predictions
from tests.science import small

N, BATCH = 30, 12
IMAGES, LABELS = small.examples(N, seed=1)
TRAINING = small.examples(60, seed=2)[0].split(20)
EVERY = torch.ones(3, 3, dtype=torch.bool)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def networks() -> list[nn.Sequential]:
    return [small.convolutional(seed) for seed in range(3)]


def streams(depth: int) -> torch.Generator:
    return generator("tests", depth)


def partners(same_class: bool) -> Tensor:
    return controls.partners(LABELS, same_class, torch.Generator().manual_seed(3))


MIRROR: Displace = lambda h_s, h_t, p_s, p_t, stream: controls.mirror(h_s, h_t)  # noqa: E731
OTHER: Displace = lambda h_s, h_t, p_s, p_t, stream: controls.other_example(  # noqa: E731
    h_s, h_t, p_s, p_t
)
RANDOM: Displace = lambda h_s, h_t, p_s, p_t, stream: controls.random_features(  # noqa: E731
    h_s, h_t, stream
)


def cube_of(
    networks: list[nn.Sequential],
    displace: Displace,
    chosen: Tensor | None = None,
    depths: tuple[int, ...] = small.CUTS,
    wanted: Tensor = EVERY,
    batch_size: int = BATCH,
    progress: Callable[[float], None] = lambda share: None,
) -> SpliceCube:
    return displaced_cube(
        networks, depths, IMAGES, LABELS, displace, chosen, streams, batch_size, wanted, progress
    )


def assert_cell(cube: SpliceCube, d: int, s: int, t: int, logits: Tensor) -> None:
    best = logits.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-4
    assert torch.equal(cube.predicted[d, s, t].long()[clear], logits.argmax(dim=1)[clear])
    loss = F.cross_entropy(logits.double(), LABELS)
    torch.testing.assert_close(cube.loss[d, s, t], loss, rtol=1e-4, atol=1e-4)


def assert_diagonal_is_plain(cube: SpliceCube, networks: list[nn.Sequential]) -> None:
    every = torch.arange(len(networks))
    plain = plain_predictions(networks, IMAGES, BATCH)
    assert torch.equal(
        cube.predicted[:, every, every].long(), plain.expand(len(cube.depths), -1, -1)
    )


@torch.no_grad()
def test_mirror_is_the_displacement_the_other_way_by_hand(networks: list[nn.Sequential]) -> None:
    cube = cube_of(networks, MIRROR)
    for d, depth in enumerate(small.CUTS):
        for s in range(3):
            for t in range(3):
                h_s, h_t = networks[s][:depth](IMAGES), networks[t][:depth](IMAGES)
                assert_cell(cube, d, s, t, networks[t][depth:](h_t - (h_s - h_t)))
    assert_diagonal_is_plain(cube, networks)


@torch.no_grad()
@pytest.mark.parametrize("same_class", [True, False], ids=["same class", "another class"])
def test_other_example_is_the_displacement_of_its_partner_by_hand(
    networks: list[nn.Sequential], same_class: bool
) -> None:
    chosen = partners(same_class)
    assert ((LABELS[chosen] == LABELS) == same_class).all()
    cube = cube_of(networks, OTHER, chosen)
    for d, depth in enumerate(small.CUTS):
        for s in range(3):
            for t in range(3):
                h_s, h_t = networks[s][:depth](IMAGES), networks[t][:depth](IMAGES)
                if s == t:
                    continue
                rows = []
                for i, j in enumerate(chosen.tolist()):
                    e = h_s[j] - h_t[j]
                    rows.append(h_t[i] + e * (h_s[i] - h_t[i]).norm() / e.norm())
                assert_cell(cube, d, s, t, networks[t][depth:](torch.stack(rows)))
    assert_diagonal_is_plain(cube, networks)


@torch.no_grad()
def test_random_features_move_as_far_in_drawn_directions_by_hand(
    networks: list[nn.Sequential],
) -> None:
    cube = cube_of(networks, RANDOM)
    for d, depth in enumerate(small.CUTS):
        stream = streams(depth)
        drawn: dict[tuple[int, int], list[Tensor]] = {}
        # In the order of the definition: mini-batches, deep parts, shallow parts.
        for x in IMAGES.split(BATCH):
            held = [network[:depth](x) for network in networks]
            for t in range(3):
                for s in range(3):
                    if s != t:
                        e = torch.randn(held[t].shape, generator=stream)
                        far = (held[s] - held[t]).flatten(1).norm(dim=1)
                        e *= (far / e.flatten(1).norm(dim=1))[:, None, None, None]
                        drawn.setdefault((s, t), []).append(held[t] + e)
        for (s, t), features in drawn.items():
            assert_cell(cube, d, s, t, networks[t][depth:](torch.cat(features)))
    assert_diagonal_is_plain(cube, networks)


def test_random_numbers_of_a_cut_do_not_depend_on_the_other_cuts(
    networks: list[nn.Sequential],
) -> None:
    together = cube_of(networks, RANDOM)
    for depth in small.CUTS:
        alone = cube_of(networks, RANDOM, depths=(depth,))
        assert torch.equal(alone.loss, together.at(depth).loss)
        assert torch.equal(alone.predicted, together.at(depth).predicted)
    backwards = cube_of(networks, RANDOM, depths=(3, 1))
    assert torch.equal(backwards.at(1).loss, together.at(1).loss)


def test_pairs_that_are_not_wanted_are_left_out(networks: list[nn.Sequential]) -> None:
    forward = torch.ones(3, 3, dtype=torch.bool).triu()
    whole, cube = cube_of(networks, MIRROR), cube_of(networks, MIRROR, wanted=forward)
    assert torch.equal(cube.n, N * forward.long().expand(3, 3, 3))
    assert torch.equal(cube.loss[:, forward], whole.loss[:, forward])
    assert cube.loss[:, ~forward].isnan().all()


def test_batch_size_changes_roundings_alone(networks: list[nn.Sequential]) -> None:
    chosen = partners(same_class=False)
    one, other = (cube_of(networks, OTHER, chosen, batch_size=size) for size in (BATCH, 7))
    assert torch.equal(one.predicted, other.predicted)
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-5, atol=1e-6)


def test_progress_rises_to_one_and_networks_stay(networks: list[nn.Sequential]) -> None:
    before, heard = small.states(networks), list[float]()
    cube_of(networks, MIRROR, progress=heard.append)
    assert heard == sorted(set(heard))
    assert heard[-1] == pytest.approx(1)
    assert small.untouched(networks, before)


def pair_stream(s: int, t: int) -> torch.Generator:
    return generator("pairs", s, t)


def moved_cube(
    networks: list[nn.Sequential],
    depths: tuple[int, ...] = small.CUTS,
    wanted: Tensor = EVERY,
    progress: Callable[[float], None] = lambda share: None,
) -> SpliceCube:
    return random_parameters_cube(
        networks, depths, IMAGES, LABELS, TRAINING, BATCH, pair_stream, wanted, progress
    )


def moved_by_hand(theta_t: nn.Sequential, theta_s: nn.Sequential, s: int, t: int) -> nn.Sequential:
    """Each parameter moved by the norm of its own difference, statistics by torch's update_bn."""
    stream, moved = pair_stream(s, t), copy.deepcopy(theta_t)
    with torch.no_grad():
        for mine, theirs in zip(moved.parameters(), theta_s.parameters(), strict=True):
            direction = torch.randn(mine.shape, generator=stream)
            mine += direction / direction.norm() * (theirs - mine).norm()
    update_bn(TRAINING, moved)
    return moved.eval()


def test_random_parameters_are_moved_by_the_norm_with_statistics_estimated_anew(
    networks: list[nn.Sequential],
) -> None:
    cube = moved_cube(networks)
    for s in range(3):
        for t in range(3):
            if s == t:
                continue
            moved = moved_by_hand(networks[t], networks[s], s, t)
            for mine, at_t, at_s in zip(
                *(network.parameters() for network in (moved, networks[t], networks[s])),
                strict=True,
            ):
                torch.testing.assert_close((mine - at_t).norm(), (at_s - at_t).norm())
            for d, depth in enumerate(small.CUTS):
                # Behind the cut network t, with its own statistics.
                with torch.no_grad():
                    assert_cell(cube, d, s, t, networks[t][depth:](moved[:depth](IMAGES)))
    assert_diagonal_is_plain(cube, networks)


def test_draws_are_the_same_whatever_the_cuts_and_the_pairs(networks: list[nn.Sequential]) -> None:
    together = moved_cube(networks)
    for depth in small.CUTS:
        assert torch.equal(moved_cube(networks, (depth,)).loss, together.at(depth).loss)
    forward = EVERY.triu()
    some = moved_cube(networks, wanted=forward)
    assert torch.equal(some.loss[:, forward], together.loss[:, forward])
    assert torch.equal(some.n, N * forward.long().expand(3, 3, 3))


def test_random_parameters_leave_networks_alone_and_tell_progress(
    networks: list[nn.Sequential],
) -> None:
    before, heard = small.states(networks), list[float]()
    moved_cube(networks, progress=heard.append)
    assert heard == sorted(set(heard))
    assert heard[-1] == pytest.approx(1)
    assert small.untouched(networks, before)


def test_what_cannot_be_spliced_is_refused(networks: list[nn.Sequential]) -> None:
    with pytest.raises(ValueError, match="depth: expected 1 to 3, got 0"):
        cube_of(networks, MIRROR, depths=(0,))
    with pytest.raises(ValueError, match="depth: expected 1 to 3, got 4"):
        moved_cube(networks, (4,))
