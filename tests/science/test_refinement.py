from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.randomness import generator
from featdyn_engine.science.anytime import fresh_size, looks
from featdyn_engine.science.execution import cpu_threads, feature_bytes
from featdyn_engine.science.refinement import refined_cube
from featdyn_engine.science.splice import MEMORY, splice_cube
from tests.science import small

# Examples and classes of the simulation, whose networks look predictions up in a table.
N, CLASSES = 4000, 4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


class Looked(nn.Module):
    """Features (B, K) of an example, from a table; the image holds its number."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, images: Tensor) -> Tensor:
        return self.table[images.flatten(1)[:, 0].long()]


def numbered(n: int) -> Tensor:
    """Images (n, 1, 1, 1) that hold their own number."""
    return torch.arange(n, dtype=torch.float32)[:, None, None, None]


def looking_up(predictions: Tensor, turn: int) -> nn.Sequential:
    """A network that predicts what a table says.

    Its deep part turns classes by ``turn``, its shallow part as far back: under the deep part of
    a network with another ``turn`` every prediction is another.
    """
    deep = nn.Linear(CLASSES, CLASSES, bias=False)
    deep.weight.data = torch.eye(CLASSES).roll(turn, 0)
    table = nn.functional.one_hot((predictions - turn) % CLASSES, CLASSES).float()
    return nn.Sequential(Looked(table), deep).eval().requires_grad_(False)


def population(accuracies: list[float], seed: int) -> tuple[list[nn.Sequential], Tensor]:
    """Networks of given accuracy on N examples, and the labels; all read tables one way.

    So a cell (s, t) predicts what the table of s says: it has the accuracy of s, and disagrees
    with network t where the two tables do.
    """
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (N,), generator=stream)
    # Nested mistakes: the better network is wrong on a part of what the worse one is wrong on.
    hardness = torch.rand(N, generator=stream)
    wrong = (labels + 1 + torch.randint(CLASSES - 1, (N,), generator=stream)) % CLASSES
    networks = [
        looking_up(torch.where(hardness < accuracy, labels, wrong), turn=0)
        for accuracy in accuracies
    ]
    return networks, labels


ACCURACIES = [0.30, 0.60, 0.85, 0.93, 0.98, 0.995]


def test_the_simulated_cells_are_what_they_are_said_to_be() -> None:
    networks, labels = population([0.3, 0.9], seed=0)
    cube = splice_cube(networks, networks, [1], numbered(N), labels, batch_size=1000)
    accuracy = cube.correct(labels)[0] / N
    expected = torch.tensor([[0.3, 0.3], [0.9, 0.9]])
    torch.testing.assert_close(accuracy, expected, rtol=0, atol=0.03)
    # A deep part that turns classes makes a cell of chance accuracy of a right network.
    turned = looking_up(labels, turn=1)
    pair = [looking_up(labels, turn=0), turned]
    cube = splice_cube(pair, pair, [1], numbered(N), labels, batch_size=1000)
    assert (cube.correct(labels)[0] == torch.tensor([[N, 0], [0, N]])).all()


@pytest.mark.parametrize("target", [0.01, 0.03])
def test_accuracies_are_within_their_half_width_of_the_census(target: float) -> None:
    inside, off, evaluated = [], [], []
    apart = ~torch.eye(len(ACCURACIES), dtype=torch.bool)
    for seed in range(12):
        networks, labels = population(ACCURACIES, seed)
        cube, accuracy, half_width = refined_cube(
            networks, [1], numbered(N), labels, 1000, target, MEMORY
        )
        truth = torch.stack([n[0].table.argmax(dim=1) == labels for n in networks])
        census = truth.double().mean(dim=1)[:, None].expand(len(networks), -1)
        inside.append((accuracy[0] - census).abs() <= half_width[0] + 1e-12)
        off.append((accuracy[0] - census)[apart])
        evaluated.append(cube.n[0][apart].double().mean())
        assert ((half_width <= target) | (cube.n == N)).all()
        assert (half_width[cube.n == N] == 0).all()
        # It is worth it: most cells have seen a part.
        assert (cube.n[0][apart] < N).double().mean() > 0.5
    covered = torch.stack(inside)[:, apart].double().mean()
    assert covered >= 0.93
    # Exact intervals would be no intervals: some estimates are off.
    assert torch.stack(off).abs().max() > target / 5
    assert torch.stack(evaluated).mean() < 0.75 * N


def test_strictly_a_cell_sees_the_pilot_and_what_the_pilot_chose() -> None:
    inside, widths = [], []
    apart = ~torch.eye(len(ACCURACIES), dtype=torch.bool)
    for seed in range(5):
        networks, labels = population(ACCURACIES, seed)
        cube, accuracy, half_width = refined_cube(
            networks, [1], numbered(N), labels, 100, 0.03, MEMORY, strict=True
        )
        assert cube.seen is not None
        # The first look of the other way: the same 400 examples for every cell.
        pilot = torch.randperm(N, generator=generator("anytime", N))[:400]
        assert cube.seen[..., pilot].all()
        truth = torch.stack([n[0].table.argmax(dim=1) == labels for n in networks])
        right, hits = truth[:, pilot], cube.predicted[0][..., pilot] == labels[pilot]
        for s, t in apart.nonzero().tolist():
            of_right, of_wrong = right[t], ~right[t]
            wanted = fresh_size(
                float(truth[t].sum()),
                float((~truth[t]).sum()),
                float(of_right.sum()),
                float(of_wrong.sum()),
                float((hits[s, t] & of_right).sum()),
                float((hits[s, t] & of_wrong).sum()),
                0.03,
            )
            # Whole batches of 100, the last one as it is.
            expected = min(400 + -(-int(wanted) // 100) * 100, N)
            assert cube.n[0, s, t] == expected
        census = truth.double().mean(dim=1)[:, None].expand(len(networks), -1)
        inside.append((accuracy[0] - census).abs() <= half_width[0] + 1e-12)
        widths.append(half_width[0][apart])
        assert torch.equal(accuracy[0].diagonal(), truth.double().mean(dim=1))
    assert torch.stack(inside)[:, apart].double().mean() >= 0.93
    wide = torch.stack(widths)
    assert (wide <= 0.03).double().mean() > 0.8
    assert wide.max() < 0.045


def test_strictly_a_small_set_is_a_census() -> None:
    networks, labels = population([0.6, 0.9], seed=1)
    cube, accuracy, half_width = refined_cube(
        networks, [1], numbered(300), labels[:300], 100, 0.03, MEMORY, strict=True
    )
    assert (cube.n == 300).all()
    assert (half_width == 0).all()
    torch.testing.assert_close(accuracy, cube.correct(labels[:300]).double() / 300)


def test_n_is_what_was_evaluated_and_grows_with_the_disagreement() -> None:
    networks, labels = population([0.60, 0.93, 0.995, 0.998], seed=3)
    cube, _, half_width = refined_cube(networks, [1], numbered(N), labels, 500, 0.02, MEMORY)
    assert cube.seen is not None
    assert torch.equal(cube.seen.sum(dim=-1), cube.n)
    assert (cube.n[0].diagonal() == N).all()
    assert (half_width[0].diagonal() == 0).all()
    apart = ~torch.eye(4, dtype=torch.bool)
    assert set(cube.n[0][apart].tolist()) <= set(looks(N))
    assert cube.n[0, 2, 3] < cube.n[0, 0, 3]


def test_examples_come_in_one_fixed_random_order() -> None:
    networks, labels = population([0.60, 0.93, 0.995], seed=3)
    cube, accuracy, _ = refined_cube(networks, [1], numbered(N), labels, 500, 0.02, MEMORY)
    again, same, _ = refined_cube(networks, [1], numbered(N), labels, 700, 0.02, MEMORY)
    assert cube.seen is not None
    assert again.seen is not None
    assert torch.equal(cube.seen, again.seen)
    assert torch.equal(accuracy, same)
    # The cell that saw fewer saw a part of what the other saw.
    flat, n = cube.seen[0].flatten(0, 1), cube.n[0].flatten()
    for i in range(9):
        for j in range(9):
            if n[i] <= n[j]:
                assert not bool((flat[i] & ~flat[j]).any())
    # Neither the first ones nor a stride: sources may be sorted by class.
    least = flat[int(n.argmin())].nonzero().flatten()
    assert len(least.diff().unique()) > 5
    # Other cells don't change a cell.
    alone, *_ = refined_cube(networks[:2], [1], numbered(N), labels, 500, 0.02, MEMORY)
    assert torch.equal(alone.n, cube.n[:, :2, :2])


def test_a_target_out_of_reach_is_a_census() -> None:
    networks = [small.convolutional(seed) for seed in range(3)]
    images, labels = small.examples(450)
    cube, accuracy, half_width = refined_cube(
        networks, small.CUTS, images, labels, 100, 1e-9, MEMORY
    )
    expected = splice_cube(networks, networks, small.CUTS, images, labels, batch_size=100)
    assert torch.equal(cube.n, expected.n)
    assert torch.equal(cube.predicted, expected.predicted)
    assert torch.equal(cube.correct(labels), expected.correct(labels))
    torch.testing.assert_close(cube.loss, expected.loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cube.margin, expected.margin, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(accuracy, expected.correct(labels).double() / 450)
    assert (half_width == 0).all()


def test_fewer_examples_than_a_first_look_are_a_census() -> None:
    networks = [small.convolutional(seed) for seed in range(2)]
    images, labels = small.examples(30)
    cube, accuracy, half_width = refined_cube(networks, [2], images, labels, 250, 0.4, MEMORY)
    expected = splice_cube(networks, networks, [2], images, labels, batch_size=30)
    assert (cube.n == 30).all()
    assert torch.equal(cube.predicted, expected.predicted)
    torch.testing.assert_close(accuracy, expected.correct(labels).double() / 30)
    assert (half_width == 0).all()


def test_the_bound_on_memory_changes_no_cell() -> None:
    networks = [small.convolutional(seed) for seed in range(3)]
    images, labels = small.examples(500)
    sizes = feature_bytes(networks[0], images, small.CUTS)
    expected, accuracy, _ = refined_cube(networks, small.CUTS, images, labels, 50, 0.03, MEMORY)
    for memory in (50 * max(sizes.values()), 50 * (sizes[1] + sizes[2])):
        cube, found, _ = refined_cube(networks, small.CUTS, images, labels, 50, 0.03, memory)
        assert torch.equal(cube.n, expected.n)
        assert torch.equal(cube.predicted, expected.predicted)
        assert torch.equal(cube.loss, expected.loss)
        assert torch.equal(found, accuracy)
    with pytest.raises(ValueError, match="memory: expected room for"):
        refined_cube(networks, small.CUTS, images, labels, 50, 0.03, 50 * sizes[1])


def test_networks_that_are_never_wrong_need_one_stratum_alone() -> None:
    labels = torch.randint(CLASSES, (N,), generator=torch.Generator().manual_seed(8))
    networks = [looking_up(labels, turn=0), looking_up(labels, turn=0)]
    cube, accuracy, half_width = refined_cube(networks, [1], numbered(N), labels, 500, 0.01, MEMORY)
    assert (half_width <= 0.01).all()
    assert cube.n[0, 0, 1] == cube.n[0, 1, 0] < N / 4
    torch.testing.assert_close(accuracy, torch.ones(1, 2, 2, dtype=torch.float64))


def test_progress_rises_to_one_where_a_census_is_needed() -> None:
    networks = [small.convolutional(seed) for seed in range(2)]
    images, labels = small.examples(600)
    heard: list[float] = []
    refined_cube(networks, [1], images, labels, 250, 1e-9, MEMORY, heard.append)
    assert heard == sorted(set(heard))
    assert heard[-1] == 1
    assert len(heard) == len(list(looks(600)))


def test_networks_stay_as_they_are_and_what_cannot_be_spliced_is_refused() -> None:
    networks = [small.convolutional(seed) for seed in range(2)]
    before = small.states(networks)
    images, labels = small.examples(30)
    refined_cube(networks, [1], images, labels, 10, 0.1, MEMORY)
    assert small.untouched(networks, before)
    with pytest.raises(ValueError, match="depth: expected 1 to 3, got 4"):
        refined_cube(networks, [4], images, labels, 10, 0.1, MEMORY)
