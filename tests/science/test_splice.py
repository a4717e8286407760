from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import DataConfig, NetworkConfig
from featdyn_engine.models.blocks import BlockNetwork
from featdyn_engine.models.registry import build
from featdyn_engine.science.splice import SpliceMatrix, compose, margins, splice_matrix
from featdyn_engine.training import cpu_threads
from tests.cases import DIGITS, HERE
from tests.oracles import block_of, hybrid_state, naive_logits, naive_scores

N = 40
DEPTH = 11  # ResNet-20: stem, nine blocks, head
CUTS = range(1, DEPTH)
TIE = 1e-4


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
def matrices(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> dict[int, SpliceMatrix]:
    return {depth: splice_matrix(networks, depth, *examples, batch_size=16) for depth in CUTS}


@pytest.fixture(scope="module")
def oracle(networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]) -> dict[int, Tensor]:
    states = [network.state_dict() for network in networks]
    return {depth: naive_logits(states, depth, examples[0], fresh) for depth in CUTS}


def logits_of(network: torch.nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images)


def assert_same_cells(one: SpliceMatrix, other: SpliceMatrix) -> None:
    assert one.n == other.n
    for field in fields(SpliceMatrix)[1:]:
        torch.testing.assert_close(
            getattr(one, field.name),
            getattr(other, field.name),
            rtol=0,
            atol=1e-4 if field.name in ("loss", "margin") else 0,
            msg=lambda text, name=field.name: f"{name}: {text}",
        )


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
    matrices: dict[int, SpliceMatrix],
) -> None:
    correct = torch.stack([matrix.correct for matrix in matrices.values()])
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
@pytest.mark.parametrize("column", ["correct", "predicted", "agreement", "loss", "margin"])
def test_every_cell_scores_as_the_naive_evaluator(
    column: str,
    depth: int,
    examples: tuple[Tensor, Tensor],
    oracle: dict[int, Tensor],
    matrices: dict[int, SpliceMatrix],
) -> None:
    expected = torch.from_numpy(naive_scores(oracle[depth], examples[1])[column])
    tolerance = 1e-4 if column in ("loss", "margin") else 1e-12
    torch.testing.assert_close(
        getattr(matrices[depth], column), expected, rtol=0, atol=tolerance, check_dtype=True
    )


def test_the_counts_agree_with_each_other(matrices: dict[int, SpliceMatrix]) -> None:
    for matrix in matrices.values():
        assert matrix.n == N
        assert (matrix.predicted.sum(dim=-1) == N).all()
        assert (matrix.agreement.diagonal() == 1).all()


def test_the_diagonal_is_the_same_at_every_cut(matrices: dict[int, SpliceMatrix]) -> None:
    first = matrices[1]
    for matrix in matrices.values():
        assert torch.equal(matrix.correct.diagonal(), first.correct.diagonal())
        torch.testing.assert_close(matrix.loss.diagonal(), first.loss.diagonal())


def test_rows_are_shallow_and_columns_deep(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], matrices: dict[int, SpliceMatrix]
) -> None:
    images, labels = examples
    for depth, matrix in matrices.items():
        logits = logits_of(compose(networks[0], networks[2], depth), images)
        loss = F.cross_entropy(logits.double(), labels)
        torch.testing.assert_close(matrix.loss[0, 2], loss, rtol=1e-5, atol=1e-5)
        assert not torch.isclose(matrix.loss[0, 2], matrix.loss[2, 0], rtol=1e-3)


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


@pytest.mark.parametrize("depth", [1, 4, 5, 7, 8, 10])
def test_permuting_channels_on_both_sides_of_a_cut_changes_no_cell(
    depth: int,
    networks: list[BlockNetwork],
    examples: tuple[Tensor, Tensor],
    matrices: dict[int, SpliceMatrix],
) -> None:
    permuted = with_changed_states(networks, _permute_channels)
    assert_same_cells(splice_matrix(permuted, depth, *examples, batch_size=16), matrices[depth])


def test_permuting_the_channels_of_one_network_alone_changes_its_cells(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor], matrices: dict[int, SpliceMatrix]
) -> None:
    permuted = [*with_changed_states(networks[:1], _permute_channels), *networks[1:]]
    matrix = splice_matrix(permuted, 4, *examples, batch_size=16)
    torch.testing.assert_close(matrix.loss.diagonal(), matrices[4].loss.diagonal())
    assert not torch.isclose(matrix.loss[0, 1], matrices[4].loss[0, 1], rtol=1e-2)


@pytest.mark.parametrize("depth", [1, 6, 10])
def test_relabelling_classes_changes_no_cell(
    depth: int,
    networks: list[BlockNetwork],
    examples: tuple[Tensor, Tensor],
    matrices: dict[int, SpliceMatrix],
) -> None:
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))

    def relabel(state: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = {key: state[key][order] for key in ("head.linear.weight", "head.linear.bias")}
        return {**state, **rows}

    images, labels = examples
    renamed = order.argsort()[labels]
    matrix = splice_matrix(with_changed_states(networks, relabel), depth, images, renamed, 16)
    expected = matrices[depth]
    assert_same_cells(
        matrix,
        SpliceMatrix(
            expected.n,
            expected.correct,
            expected.loss,
            expected.margin,
            expected.agreement,
            expected.predicted[..., order],
        ),
    )


@pytest.mark.parametrize("batch_size", [1, 7, N, 1000])
def test_batch_size_does_not_change_a_cell(
    batch_size: int,
    networks: list[BlockNetwork],
    examples: tuple[Tensor, Tensor],
    matrices: dict[int, SpliceMatrix],
) -> None:
    matrix = splice_matrix(networks[:2], 5, *examples, batch_size=batch_size)
    expected = matrices[5]
    corner = SpliceMatrix(
        expected.n,
        *(getattr(expected, field.name)[:2, :2] for field in fields(SpliceMatrix)[1:]),
    )
    assert_same_cells(matrix, corner)


def test_evaluation_leaves_the_networks_as_they_were(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    before = [{key: value.clone() for key, value in n.state_dict().items()} for n in networks]
    splice_matrix(networks, 3, *examples, batch_size=16)
    for network, state in zip(networks, before, strict=True):
        assert not network.training
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_progress_rises_to_one(
    networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    heard: list[float] = []
    splice_matrix(networks[:2], 9, *examples, batch_size=16, progress=heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 3
    assert heard[-1] == pytest.approx(1)


def test_margin_is_the_true_logit_minus_the_largest_other() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [-3.0, -3.0, -5.0]])
    assert margins(logits, torch.tensor([1, 0, 0])).tolist() == [2.0, -3.0, 0.0]


@pytest.mark.parametrize("depth", [-1, 0, DEPTH, DEPTH + 1])
def test_a_depth_without_a_shallow_or_deep_part_is_refused(
    depth: int, networks: list[BlockNetwork], examples: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ValueError, match=f"depth: expected 1 to 10, got {depth}"):
        splice_matrix(networks, depth, *examples, batch_size=16)


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
        splice_matrix([networks[0], fresh().train()], 3, *examples, batch_size=16)


def test_no_images_are_refused(networks: list[BlockNetwork]) -> None:
    images, labels = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="expected at least one image, got none"):
        splice_matrix(networks, 3, images, labels, batch_size=16)
