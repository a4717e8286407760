from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import build
from featdyn_engine.science import splice
from featdyn_engine.science.cube import SpliceCube
from featdyn_engine.science.execution import cpu_threads, feature_bytes, prepared
from featdyn_engine.science.splice import (
    compose,
    depth_groups,
    plain_predictions,
    shares,
    splice_cube,
)
from tests.cases import DIGITS, HERE
from tests.models import cases
from tests.oracles import block_of, hybrid_state, naive_logits, naive_scores
from tests.science import small

N = 40
DEPTH = 11  # ResNet-20: stem, nine blocks, head
CUTS = range(1, DEPTH)
TIE = 1e-4
# Too big to be evaluated everywhere: one cut of each.
HEAVY = ("vgg11", "vgg16", "resnet18", "vit_b_16")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the engine's workers: sums in one order, and no fight for cores."""
    with cpu_threads(1):
        yield


def fresh() -> BlockNetwork:
    return build(NetworkConfig(name="resnet20"), DIGITS, seed=99)


@pytest.fixture(scope="module")
def examples() -> tuple[Tensor, Tensor]:
    dataset = data_registry.load(DataConfig(name="digits", train_size=96), HERE)
    return dataset.normalise(dataset.test_images)[:N], dataset.test_labels[:N]


@pytest.fixture(scope="module")
def networks() -> list[BlockNetwork]:
    """Two steps of one training and one of another: weights and running statistics differ."""
    dataset = data_registry.load(DataConfig(name="digits", train_size=96), HERE)
    images, labels = dataset.normalise(dataset.train_images), dataset.train_labels
    result = []
    for seed, stops in ((0, (4, 10)), (1, (4,))):
        network = build(NetworkConfig(name="resnet20"), DIGITS, seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        for step in range(max(stops)):
            batch = torch.arange(32) + 32 * (step % 3)
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
            if step + 1 in stops:
                result.append(fresh())
                result[-1].load_state_dict(network.state_dict())
    return [network.eval() for network in result]


@pytest.fixture(scope="module")
def cube(networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]) -> SpliceCube:
    return splice_cube(networks, networks, CUTS, *examples, batch_size=16)


@pytest.fixture(scope="module")
def oracle(networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]) -> dict[int, Tensor]:
    states = [network.state_dict() for network in networks]
    return {depth: naive_logits(states, depth, examples[0], fresh) for depth in CUTS}


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images)


def diagonal(cells: Tensor) -> Tensor:
    """Cells (D, T, T, ...) of networks with themselves: (D, T, ...)."""
    every = torch.arange(cells.shape[1])
    return cells[:, every, every]


def assert_same_bits(one: SpliceCube, other: SpliceCube) -> None:
    assert (one.depths, one.classes) == (other.depths, other.classes)
    for name in ("n", "predicted", "loss", "margin"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def assert_same_cells(one: SpliceCube, other: SpliceCube) -> None:
    """Equal but for the order of roundings."""
    assert one.depths == other.depths
    assert torch.equal(one.n, other.n)
    assert torch.equal(one.predicted, other.predicted)
    for name in ("loss", "margin"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-4)


def assert_as_naive(
    cube: SpliceCube, depth: int, naive: Tensor, labels: Tensor, tolerance: float = 1e-4
) -> None:
    """Compare one cut with naive logits (T, T, N, K), example by example."""
    best = naive.topk(2, dim=-1).values
    clear = best[..., 0] - best[..., 1] > TIE
    assert clear.double().mean() >= 0.9
    found = cube.at(depth)
    assert (found.n == len(labels)).all()
    guesses = naive.argmax(dim=-1)
    assert torch.equal(found.predicted[0][clear].long(), guesses[clear])
    expected = {k: torch.from_numpy(v) for k, v in naive_scores(naive, labels).items()}
    for name in ("loss", "margin"):
        torch.testing.assert_close(
            getattr(found, name)[0], expected[name], rtol=tolerance, atol=tolerance
        )
    if bool(clear.all()):
        assert torch.equal(found.correct(labels)[0], expected["correct"])
        agreement = found.agreement(diagonal(found.predicted))[0]
        torch.testing.assert_close(agreement, expected["agreement"])
        counts = found.predicted_shares()[0] * len(labels)
        assert torch.equal(counts.round().long(), expected["predicted"])


def with_changed_states(
    networks: list[BlockNetwork], change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> list[BlockNetwork]:
    changed = []
    for network in networks:
        copy = fresh()
        copy.load_state_dict(change(network.state_dict()))
        changed.append(copy.eval())
    return changed


@pytest.mark.parametrize("depth", range(DEPTH + 1))
def test_a_network_spliced_with_itself_is_that_network(
    depth: int, networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    for network in networks:
        expected = logits_of(network, examples[0])
        assert torch.equal(logits_of(compose(network, network, depth), examples[0]), expected)


def test_depth_zero_is_the_deep_network(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    spliced = logits_of(compose(networks[0], networks[1], 0), examples[0])
    assert torch.equal(spliced, logits_of(networks[1], examples[0]))


def test_full_depth_is_the_shallow_network(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    spliced = logits_of(compose(networks[0], networks[1], DEPTH), examples[0])
    assert torch.equal(spliced, logits_of(networks[0], examples[0]))


@pytest.mark.parametrize("depth", range(DEPTH + 1))
def test_every_tensor_has_exactly_one_parent(depth: int, networks: list[BlockNetwork]) -> None:
    shallow, deep = (network.state_dict() for network in networks[:2])
    spliced = compose(networks[0], networks[1], depth).state_dict()
    blocks = list(dict.fromkeys(block_of(key) for key in deep))
    assert len(spliced) == len(deep)
    for key, tensor in deep.items():
        index = blocks.index(block_of(key))
        parent = shallow if index < depth else deep
        found = spliced[f"{index}{key.removeprefix(block_of(key))}"]
        assert found.data_ptr() == parent[key].data_ptr()
        assert found.shape == tensor.shape


def test_the_test_networks_differ_in_every_running_statistic(
    networks: list[BlockNetwork],
) -> None:
    one, other = (network.state_dict() for network in networks[:2])
    names = [key for key in one if key.endswith(("running_mean", "running_var"))]
    assert len(names) == 2 * 19
    assert not any(torch.equal(one[key], other[key]) for key in names)


def test_running_statistics_of_the_wrong_parent_would_show(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], oracle: dict[int, Tensor]
) -> None:
    shallow, deep = (network.state_dict() for network in networks[:2])
    mixed = hybrid_state(shallow, deep, 5)
    for key in mixed:
        if "running" in key:
            mixed[key] = deep[key]
    network = fresh()
    network.load_state_dict(mixed)
    guesses = logits_of(network.eval(), examples[0]).argmax(dim=1)
    assert not torch.equal(guesses, oracle[5][0, 1].argmax(dim=1))


def test_the_test_cells_are_neither_all_equal_nor_all_chance(
    cube: SpliceCube, examples: tuple[Tensor, Tensor]
) -> None:
    correct = cube.correct(examples[1])
    assert len(correct.unique()) > 8
    assert correct.max() > 2 * N / 10


@pytest.mark.parametrize("depth", CUTS)
def test_composed_networks_predict_as_the_naive_evaluator_example_by_example(
    depth: int,
    networks: list[BlockNetwork],
    examples: tuple[Tensor, Tensor],
    oracle: dict[int, Tensor],
) -> None:
    for s, shallow in enumerate(networks):
        for t, deep in enumerate(networks):
            logits = logits_of(compose(shallow, deep, depth), examples[0])
            naive = oracle[depth][s, t]
            torch.testing.assert_close(logits, naive, rtol=1e-5, atol=1e-5)
            best = naive.topk(2, dim=1).values
            clear = best[:, 0] - best[:, 1] > TIE
            assert clear.sum() >= N - 1
            assert torch.equal(logits.argmax(dim=1)[clear], naive.argmax(dim=1)[clear])


@pytest.mark.parametrize("depth", CUTS)
def test_every_cell_scores_as_the_naive_evaluator(
    depth: int, cube: SpliceCube, examples: tuple[Tensor, Tensor], oracle: dict[int, Tensor]
) -> None:
    assert_as_naive(cube, depth, oracle[depth], examples[1])


def test_cells_of_prepared_networks_score_as_the_naive_evaluator(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], oracle: dict[int, Tensor]
) -> None:
    images, labels = examples
    fast = [prepared(network, images[:8]) for network in networks]
    cube = splice_cube(fast, fast, CUTS, images, labels, batch_size=250)
    for depth in CUTS:
        assert_as_naive(cube, depth, oracle[depth], labels)


@pytest.mark.parametrize(("name", "norm_layer"), cases.PARAMETERS, ids=lambda value: str(value))
def test_every_network_of_the_registry_scores_as_the_naive_evaluator(
    name: str, norm_layer: str
) -> None:
    networks = [small.lively(cases.made(name, norm_layer, seed), seed) for seed in (0, 1)]
    images = cases.images(cases.task(name), 4 if name in (*HEAVY, "vit_small") else 12)
    # Deep ResNets repeat their blocks: every third cut.
    depths = list(range(1, len(networks[0]), 3 if name in ("resnet44", "resnet56") else 1))
    if name in HEAVY:
        depths = [len(networks[0]) // 2]
    fast = [prepared(network, images[:8]) for network in networks]
    stream = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (len(images),), generator=stream)
    cube = splice_cube(fast, fast, depths, images, labels, batch_size=8)
    states = [network.state_dict() for network in networks]
    # The same object every time: building a large one takes longer than all the rest.
    into = cases.made(name, norm_layer, 2)
    for depth in depths:
        naive = naive_logits(states, depth, images, lambda: into)
        assert_as_naive(cube, depth, naive, labels)


def test_the_diagonal_is_the_network_itself_at_every_cut(
    networks: list[BlockNetwork], cube: SpliceCube, examples: tuple[Tensor, Tensor]
) -> None:
    images, labels = examples
    plain = plain_predictions(networks, images, batch_size=16)
    for t, network in enumerate(networks):
        logits = torch.cat([logits_of(network, x) for x in images.split(16)])
        assert torch.equal(plain[t], logits.argmax(dim=1))
        loss = F.cross_entropy(logits.double(), labels)
        torch.testing.assert_close(cube.loss[:, t, t], loss.expand(len(CUTS)))
    assert torch.equal(diagonal(cube.predicted).long(), plain.expand(len(CUTS), -1, -1))
    assert (diagonal(cube.agreement(plain)) == 1).all()


@pytest.mark.parametrize("batch_norm", [True, False], ids=["inherit", "none"])
def test_the_diagonal_is_the_plain_network_where_parts_are_spliced_one_by_one(
    batch_norm: bool,
) -> None:
    # Another list of the same networks: nothing is taken from the pass of the plain network.
    networks = [small.convolutional(seed, batch_norm) for seed in (0, 1)]
    images, labels = small.examples(30)
    spliced = splice_cube(networks, list(networks), small.CUTS, images, labels, batch_size=10)
    same = splice_cube(networks, networks, small.CUTS, images, labels, batch_size=10)
    assert_same_bits(spliced, same)
    plain = plain_predictions(networks, images, batch_size=10)
    assert torch.equal(diagonal(spliced.predicted).long(), plain.expand(3, -1, -1))
    assert not torch.equal(spliced.predicted[:, 0, 1], spliced.predicted[:, 1, 1])


def test_rows_are_shallow_and_columns_deep(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], cube: SpliceCube
) -> None:
    images, labels = examples
    for d, depth in enumerate(CUTS):
        logits = logits_of(compose(networks[0], networks[2], depth), images)
        loss = F.cross_entropy(logits.double(), labels)
        torch.testing.assert_close(cube.loss[d, 0, 2], loss, rtol=1e-5, atol=1e-5)
        assert not torch.isclose(cube.loss[d, 0, 2], cube.loss[d, 2, 0], rtol=1e-3)


def test_the_shallow_parts_may_be_of_other_networks() -> None:
    shallow, deep = ([small.convolutional(seed) for seed in seeds] for seeds in ((0, 1, 2), (3, 4)))
    images, labels = small.examples(24)
    cube = splice_cube(shallow, deep, (3, 1), images, labels, batch_size=24)
    assert cube.n.shape == (2, 3, 2)
    for d, depth in enumerate((3, 1)):
        for s in range(3):
            for t in range(2):
                logits = logits_of(compose(shallow[s], deep[t], depth), images)
                assert torch.equal(cube.predicted[d, s, t].long(), logits.argmax(dim=1))
                loss = F.cross_entropy(logits.double(), labels)
                torch.testing.assert_close(cube.loss[d, s, t], loss)


def test_all_cuts_in_one_call_are_each_cut_alone(
    networks: list[BlockNetwork], cube: SpliceCube, examples: tuple[Tensor, Tensor]
) -> None:
    for depth in CUTS:
        alone = splice_cube(networks, networks, [depth], *examples, batch_size=16)
        assert_same_bits(alone, cube.at(depth))


def test_the_bound_on_memory_changes_nothing_to_the_bit() -> None:
    networks = [small.convolutional(seed) for seed in range(3)]
    images, labels = small.examples(25)
    sizes = {d: 10 * size for d, size in feature_bytes(networks[0], images, small.CUTS).items()}
    # By hand: 6 or 8 channels of 6 x 6 float32 pixels.
    assert sizes == {1: 10 * 6 * 36 * 4, 2: 10 * 8 * 36 * 4, 3: 10 * 8 * 36 * 4}
    expected = splice_cube(networks, networks, small.CUTS, images, labels, batch_size=10)
    every = sum(sizes.values())
    for memory in (sizes[3], sizes[1] + sizes[2], every, 2 * every, 3 * every):
        cube = splice_cube(networks, networks, small.CUTS, images, labels, 10, memory=memory)
        assert_same_bits(cube, expected)
    with pytest.raises(ValueError, match=r"memory: expected room for .* MiB of features, got .*"):
        splice_cube(networks, networks, small.CUTS, images, labels, 10, memory=sizes[3] - 1)


def test_no_more_features_are_held_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [small.convolutional(seed) for seed in range(5)]
    images, labels = small.examples(20)
    sizes = {d: 10 * size for d, size in feature_bytes(networks[0], images, small.CUTS).items()}
    held: list[list[Tensor]] = []
    true_taps = splice.taps

    def recording(network: nn.Sequential, x: Tensor, depths: Sequence[int]) -> object:
        found = true_taps(network, x, depths)
        held.append(list(found[0].values()))
        return found

    monkeypatch.setattr(splice, "taps", recording)
    memory = 2 * (sizes[1] + sizes[2]) + 1
    splice_cube(networks, networks, (1, 2), images, labels, 10, memory=memory)
    assert len(held) == 2 * 5
    assert all(sum(each.nbytes for each in group) == sizes[1] + sizes[2] for group in held)
    held.clear()
    # Room for one cut of one network: every cut is another pass.
    splice_cube(networks, networks, (1, 2), images, labels, 10, memory=sizes[2])
    assert len(held) == 2 * 5 * 2
    assert all(sum(each.nbytes for each in group) <= sizes[2] for group in held)


def test_depths_are_divided_as_they_fit() -> None:
    assert depth_groups({3: 5, 1: 4, 2: 4}, 8) == [[1, 2], [3]]
    assert depth_groups({1: 4, 2: 4, 3: 5}, 13) == [[1, 2, 3]]
    assert depth_groups({1: 4, 2: 4, 3: 5}, 5) == [[1], [2], [3]]
    with pytest.raises(ValueError, match=r"got 4 MiB; allow more, or take a smaller batch_size"):
        depth_groups({1: 5 * 2**20}, 4 * 2**20)


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(5, 2, [2, 2, 1]), (4, 9, [4]), (3, 0, [1, 1, 1]), (0, 3, [])],
)
def test_shares_are_consecutive_and_complete(count: int, most: int, expected: list[int]) -> None:
    found = list(shares(count, most))
    assert [len(each) for each in found] == expected
    assert [i for each in found for i in each] == list(range(count))


def test_pairs_that_are_not_wanted_are_left_out() -> None:
    networks = [small.convolutional(seed) for seed in range(3)]
    images, labels = small.examples(21)
    wanted = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    whole = splice_cube(networks, networks, small.CUTS, images, labels, batch_size=10)
    cube = splice_cube(networks, networks, small.CUTS, images, labels, 10, wanted=wanted)
    assert torch.equal(cube.n, 21 * wanted.long().expand(3, 3, 3))
    for name in ("loss", "margin"):
        found, expected = getattr(cube, name), getattr(whole, name)
        assert torch.equal(found[:, wanted], expected[:, wanted])
        assert found[:, ~wanted].isnan().all()
    assert torch.equal(cube.predicted[:, wanted], whole.predicted[:, wanted])


def _permuted_streams(generator: torch.Generator) -> list[Tensor]:
    # Shortcuts put the old channels in the middle of the new ones, so a permutation before them
    # fixes that part of the one behind; the new channels on either side are free to move.
    streams = [torch.randperm(16, generator=generator)]
    for width in (32, 64):
        inner, margin = streams[-1], width // 4
        free = torch.cat([torch.arange(margin), torch.arange(width - margin, width)])
        free = free[torch.randperm(2 * margin, generator=generator)]
        streams.append(torch.cat([free[:margin], margin + inner, free[margin:]]))
    return streams


def _permute_channels(state: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    streams = _permuted_streams(generator)
    result = dict(state)

    def reorder(prefix: str, order: Tensor) -> None:
        for key in list(result):
            if key.startswith(prefix) and result[key].ndim:
                result[key] = result[key][order]

    reorder("stem.", streams[0])
    before = streams[0]
    for stage, stream in enumerate(streams, start=1):
        for index in range(3):
            block = f"stage{stage}_{index}"
            inner = torch.randperm(len(stream), generator=generator)
            reorder(f"{block}.conv1", inner)
            reorder(f"{block}.norm1", inner)
            reorder(f"{block}.conv2", stream)
            reorder(f"{block}.norm2", stream)
            result[f"{block}.conv1.weight"] = result[f"{block}.conv1.weight"][:, before]
            result[f"{block}.conv2.weight"] = result[f"{block}.conv2.weight"][:, inner]
            before = stream
    result["head.linear.weight"] = result["head.linear.weight"][:, before]
    return result


def test_permuting_channels_on_both_sides_of_a_cut_changes_no_cell(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], cube: SpliceCube
) -> None:
    permuted = with_changed_states(networks, _permute_channels)
    assert_same_cells(splice_cube(permuted, permuted, CUTS, *examples, batch_size=16), cube)


def test_permuting_the_channels_of_one_network_alone_changes_its_cells(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], cube: SpliceCube
) -> None:
    permuted = [*with_changed_states(networks[:1], _permute_channels), *networks[1:]]
    found = splice_cube(permuted, permuted, [4], *examples, batch_size=16)
    expected = cube.at(4)
    torch.testing.assert_close(diagonal(found.loss), diagonal(expected.loss))
    assert not torch.isclose(found.loss[0, 0, 1], expected.loss[0, 0, 1], rtol=1e-2)


def test_relabelling_classes_changes_no_cell(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], cube: SpliceCube
) -> None:
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))

    def relabel(state: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = {key: state[key][order] for key in ("head.linear.weight", "head.linear.bias")}
        return {**state, **rows}

    images, labels = examples
    renamed = order.argsort()[labels]
    changed = with_changed_states(networks, relabel)
    found = splice_cube(changed, changed, CUTS, images, renamed, batch_size=16)
    assert torch.equal(order[found.predicted.long()], cube.predicted.long())
    assert torch.equal(found.correct(renamed), cube.correct(labels))
    assert torch.equal(found.predicted_shares(), cube.predicted_shares()[..., order])
    for name in ("loss", "margin"):
        torch.testing.assert_close(getattr(found, name), getattr(cube, name), rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, N, 1000])
def test_batch_size_changes_roundings_alone(
    batch_size: int,
    networks: list[BlockNetwork],
    examples: tuple[Tensor, Tensor],
    cube: SpliceCube,
) -> None:
    found = splice_cube(networks, networks, [5], *examples, batch_size=batch_size)
    assert_same_cells(found, cube.at(5))


def test_evaluation_leaves_the_networks_as_they_were(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    before = small.states(networks)  # type: ignore[arg-type]
    splice_cube(networks, networks, CUTS, *examples, batch_size=16)
    assert small.untouched(networks, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", [2**31, 10 * 8 * 36 * 4], ids=["at once", "one by one"])
def test_progress_rises_to_one(memory: int) -> None:
    networks = [small.convolutional(seed) for seed in range(3)]
    images, labels = small.examples(25)
    heard: list[float] = []
    splice_cube(networks, networks, small.CUTS, images, labels, 10, memory, progress=heard.append)
    assert heard == sorted(set(heard))
    assert len(heard) > 3
    assert heard[-1] == pytest.approx(1)


@pytest.mark.parametrize("depth", [-1, 0, DEPTH, DEPTH + 1])
def test_a_depth_without_a_shallow_or_deep_part_is_refused(
    depth: int, networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ValueError, match=f"depth: expected 1 to 10, got {depth}"):
        splice_cube(networks, networks, [3, depth], *examples, batch_size=16)


@pytest.mark.parametrize("depth", [-1, DEPTH + 1])
def test_composing_outside_the_network_is_refused(depth: int, networks: list[BlockNetwork]) -> None:
    with pytest.raises(ValueError, match=f"depth: expected 0 to 11, got {depth}"):
        compose(networks[0], networks[1], depth)


def test_networks_of_different_length_are_refused(networks: list[BlockNetwork]) -> None:
    with pytest.raises(ValueError, match="networks of 10 and 11 blocks can't be spliced"):
        compose(networks[0][:10], networks[1], 3)


def test_a_network_in_training_mode_is_refused(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ValueError, match=r"expected networks in evaluation mode: call \.eval\(\)"):
        splice_cube([networks[0], fresh().train()], networks, [3], *examples, batch_size=16)


def test_no_images_are_refused(networks: list[BlockNetwork]) -> None:
    images, labels = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        splice_cube(networks, networks, [3], images, labels, batch_size=16)


def test_a_block_in_training_mode_is_refused() -> None:
    networks = [small.convolutional(seed) for seed in range(2)]
    networks[1][2].train()
    with pytest.raises(ValueError, match=r"expected networks in evaluation mode: call \.eval\(\)"):
        splice_cube(networks, networks, [1], *small.examples(4), batch_size=4)


def test_a_cube_of_networks_of_different_length_is_refused() -> None:
    networks = [small.convolutional(0), small.convolutional(1)[:3]]
    with pytest.raises(ValueError, match="networks: expected the same number of blocks in each"):
        splice_cube(networks, networks, [1], *small.examples(4), batch_size=4)
