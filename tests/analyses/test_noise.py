from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from featdyn_engine.analyses import noise, noise_rows
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.noise import COMPANIONS, TABLE, Settings, units
from featdyn_engine.analyses.noise_draws import directions, drawn_gradients
from featdyn_engine.analyses.noise_rows import Isotropic, alignment_rows, correct_for_examples
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.domain import InputError, Recorded, RunConfig, Unit
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.science.noise import evidence
from featdyn_engine.science.spectra import eigenvalues, sign_dimension
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, with_recipe

RUN = replace(PERCEPTRON, checkpoints=(0, 4, 10))
SETS = (Evaluation(split="test", n=30),)
SMALL = {"evaluations": SETS, "batches": 20, "examples": 2, "cuts": ("layer2",)}
KEY = (
    "run_id",
    "eval_id",
    "cut",
    "step",
    "example",
    "batch_size",
    "step_rule",
    "representation",
    "source",
)
ADAM = with_recipe(RUN, optimizer="adam", lr=0.01, weight_decay=0.1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    train(RUN, folder)
    return folder


def planned(run: RunConfig = RUN, **options: object) -> list[Unit]:
    return units(Settings(**{**SMALL, **options}), run, HERE)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def heard() -> list[float]:
    """What ``tables`` told of its progress."""
    return []


@pytest.fixture(scope="module")
def tables(home: Path, heard: list[float]) -> dict[str, pa.Table]:
    return noise.compute(planned(steps=(4, 10))[0].spec, home, heard.append)


def test_a_unit_names_its_companions_and_steps_before_the_last() -> None:
    (unit,) = planned()
    assert unit.kind == "noise"
    assert unit.companions == ("noise_tests", "noise_alignment")
    assert unit.spec.steps == (0, 4)
    assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
    assert planned(PERCEPTRON, count=3)[0].spec.steps == (0, 4, 9)


def test_other_work_has_another_id_but_more_memory_is_the_same() -> None:
    known = {unit.unit_id for unit in planned()}
    for options in ({"batches": 21}, {"examples": 3}, {"k": 2}, {"seed": 1}, {"steps": (4,)}):
        assert not known & {unit.unit_id for unit in planned(**options)}
    assert known == {unit.unit_id for unit in planned(memory=5000)}


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"noise.batches: expected 20 or more, got 19; .* 200"):
        planned(batches=19)
    with pytest.raises(InputError, match=r"noise.steps: expected .* among 0, 4, 10, got 5; name"):
        planned(steps=(5,))
    with pytest.raises(InputError, match=r"noise.step_rules: expected .* got muon; ask for"):
        planned(with_recipe(RUN, optimizer="muon"))
    assert planned(with_recipe(RUN, optimizer="muon"), step_rules=("sgd",))
    told = ("optimizer", "batch_size", "lr")
    foreign = replace(ADAM, recorded=Recorded(name="mine", token="1", by="recorder", told=told))
    with pytest.raises(InputError, match=r"expected a recording of adam with its betas and eps"):
        planned(foreign)
    assert planned(foreign, step_rules=("sgd",))
    with pytest.raises(InputError, match=r"noise.batch_sizes: expected fewer than the 44 .* 44"):
        planned(batch_sizes=(8, 44))
    with pytest.raises(InputError, match=r"noise.examples: expected at most the 30 .* got 31"):
        planned(examples=31)
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'nosuch'"):
        planned(cuts=("layer2", "nosuch"))
    with pytest.raises(InputError, match=r"noise.memory: expected room for .* MiB .* got 16; rais"):
        planned(batches=2000, memory=16)
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'head'"):
        planned(cuts=("head",))


def test_every_batch_size_and_step_rule_is_a_unit_of_its_own() -> None:
    asked = {"batch_sizes": (4, 16, 4), "step_rules": ("own", "sgd")}
    found = planned(ADAM, **asked)
    assert [(unit.spec.batch_size, unit.spec.step_rule) for unit in found] == [
        (4, "adam"),
        (4, "sgd"),
        (16, "adam"),
        (16, "sgd"),
    ]
    assert len({unit.unit_id for unit in found}) == 4
    assert found[2].label == "noise test, adam, mini-batches of 16"
    # The own steps of a run of sgd are those of sgd, asked for once.
    assert [unit.spec.step_rule for unit in planned(step_rules=("own", "sgd"))] == ["sgd"]
    assert planned()[0].unit_id == planned(batch_sizes=(8,))[0].unit_id
    assert planned(projection=4)[0].unit_id != planned()[0].unit_id


def test_mini_batches_of_two_sizes_are_nested(home: Path) -> None:
    """A larger mini-batch holds the smaller one, so that sizes are compared on the same draws."""
    network = load_network(home, RUN.run_id, 4).eval()
    small, large = (unit.spec for unit in planned(batch_sizes=(1, 2)))
    one, two = (drawn_gradients(spec, network, 4, HERE) for spec in (small, large))
    # The mean of two gradients, one of which is known: the other is that of an example too.
    other = 2 * two - one
    every = drawn_gradients(replace(large, batch_size=1, batches=400), network, 4, HERE)
    nearest = torch.cdist(other, every).min(dim=1).values
    # cdist leaves a few thousandths of the lengths.
    assert float(nearest.max()) < 1e-2 * float(every.norm(dim=1).mean())


def test_progress_moves_within_a_step(tables: dict[str, pa.Table], heard: list[float]) -> None:
    assert heard == sorted(heard)
    assert len(heard) > 40
    assert 0 < heard[0] < 0.05
    assert heard[-1] == pytest.approx(1)


@pytest.fixture(scope="module")
def adam_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adam")
    train(ADAM, folder)
    return folder


def test_steps_of_adam_are_its_own_and_the_state_is_called_estimated(adam_home: Path) -> None:
    spec = planned(ADAM, steps=(0, 4))[0].spec
    network = load_network(adam_home, ADAM.run_id, 4).eval()
    drawn = drawn_gradients(spec, network, 4, HERE)
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    decayed = drawn + 0.1 * weights
    mean, square = decayed.mean(dim=0), decayed.square().mean(dim=0)
    first = (0.9 * (1 - 0.9**4) * mean + 0.1 * decayed) / (1 - 0.9**5)
    second = (0.999 * (1 - 0.999**4) * square + 0.001 * decayed**2) / (1 - 0.999**5)
    expected = first / (second.sqrt() + 1e-8)
    torch.testing.assert_close(directions(spec, network, 4, drawn), expected, rtol=1e-3, atol=1e-5)
    tables = noise.compute(spec, adam_home, lambda share: None)
    rows = tables["noise_tests"].to_pylist()
    whole = {row["step"]: row for row in rows if row["cut"] == "parameters"}
    assert whole[4]["pr_sign"] == pytest.approx(sign_dimension(expected).value, rel=1e-3)
    assert {row["step_rule"] for row in rows} == {"adam"}
    assert {(row["step"], row["optimizer_state"]) for row in rows} == {
        (0, "exact"),
        (4, "estimated"),
    }


def test_a_projection_keeps_all_that_there_is_where_it_is_a_rotation(
    tables: dict[str, pa.Table], home: Path
) -> None:
    """Sixteen features on sixteen directions: a rotation, to which spectra are indifferent."""
    spec = planned(steps=(4,), projection=16)[0].spec
    turned = noise.compute(spec, home, lambda share: None)
    rows = [
        [
            row
            for row in found["noise_tests"].to_pylist()
            if row["source"] == "sgd" and row["step"] == 4
        ]
        for found in (tables, turned)
    ]
    assert len(rows[0]) == len(rows[1]) == 3
    for one, other in zip(*rows, strict=True):
        assert other["pr_sign"] == pytest.approx(one["pr_sign"], rel=1e-3)
    named = {row["representation"] for row in turned["noise_tests"].to_pylist()}
    assert named == {"parameters", "projection_16"}
    aligned = [found["noise_alignment"].to_pylist()[0]["alignment"] for found in (tables, turned)]
    assert aligned[0] == pytest.approx(aligned[1], rel=1e-2)


def test_mauchly_beyond_its_range_has_its_monte_carlo_null_and_the_row_says_so(home: Path) -> None:
    """Six dimensions of 19 degrees of freedom: more than a sixth; three are within it."""
    for size, null in ((3, "chi2"), (6, "monte carlo")):
        spec = planned(steps=(4,), projection=size)[0].spec
        tables = noise.compute(spec, home, lambda share: None)
        rows = [row for row in tables["noise_tests"].to_pylist() if row["example"] >= 0]
        assert {(row["p"], row["mauchly_null"]) for row in rows} == {(size, null)}
        assert all(0 <= row["mauchly_p"] <= 1 for row in rows)


def test_every_place_and_source_has_its_rows_once(tables: dict[str, pa.Table]) -> None:
    assert tables["noise"].schema.equals(TABLE)
    for kind, schema in COMPANIONS.items():
        assert tables[kind].schema.equals(schema)
    keys = [tuple(row[name] for name in KEY) for row in tables["noise_tests"].to_pylist()]
    # Two steps: the gradient, and two examples under SGD and two controls.
    assert len(keys) == len(set(keys)) == 2 * (1 + 2 * 3)
    spectra = [(*(row[name] for name in KEY), row["rank"]) for row in tables["noise"].to_pylist()]
    assert len(set(spectra)) == len(spectra) == 2 * (19 + 2 * 3 * 16)
    aligned = tables["noise_alignment"].to_pylist()
    # The last checkpoint has no later one to drift to.
    assert {(row["step"], row["later_step"]) for row in aligned} == {(4, 10)}
    assert len(aligned) == 2 * 3


def test_rows_are_those_of_networks_moved_by_hand(tables: dict[str, pa.Table], home: Path) -> None:
    """Slowly: add -lr g_b to the shallow weights of a copy, run it, subtract the mean."""
    spec = planned(steps=(4, 10))[0].spec
    network = load_network(home, RUN.run_id, 4)
    drawn = drawn_gradients(spec, network.eval(), 4, HERE)
    images = evaluation.load(spec.evaluation, HERE).images
    rows = [row for row in tables["noise_tests"].to_pylist() if row["step"] == 4]
    by_place = {(row["example"], row["source"]): row for row in rows}
    assert by_place[-1, "sgd"]["pr_sign"] == pytest.approx(sign_dimension(drawn).value)
    example = max(place for place, _ in by_place)
    features = []
    for gradient in drawn:
        moved = load_network(home, RUN.run_id, 4).eval()
        shallow = moved[:2].eval()
        count = sum(value.numel() for value in shallow.parameters())
        flat = torch.nn.utils.parameters_to_vector(shallow.parameters())
        torch.nn.utils.vector_to_parameters(flat - 0.05 * gradient[:count], shallow.parameters())
        with torch.no_grad():
            features.append(shallow(images[example : example + 1])[0])
    expected = torch.stack(features).numpy()
    row = by_place[example, "sgd"]
    assert row["pr_sign"] == pytest.approx(sign_dimension(expected).value, rel=1e-3)
    found = [
        each["eigenvalue"]
        for each in tables["noise"].to_pylist()
        if (each["step"], each["example"], each["source"]) == (4, example, "sgd")
    ]
    np.testing.assert_allclose(found, eigenvalues(expected), rtol=1e-2, atol=found[0] * 1e-4)


def test_the_evidence_is_on_the_rows_of_controls_alone(tables: dict[str, pa.Table]) -> None:
    for row in tables["noise_tests"].to_pylist():
        own = row["source"] == "sgd"
        for name in ("delta", "delta_low", "delta_high", "delta_p", "delta_p_holm", "verdict"):
            assert (row[name] is None) == own
        if not own:
            assert row["delta_low"] <= row["delta"] <= row["delta_high"]
            assert row["delta_p"] <= row["delta_p_bh"] <= row["delta_p_holm"] <= 1
            low = row["delta_high"] < 0
            assert (row["verdict"] == "anisotropic") == low
        assert row["augmentation"] == "none"
        assert row["lr"] == 0.05
        assert row["norm"] == "inherit"
        assert row["n"] == 20


def test_mauchly_beyond_the_draws_is_null_and_says_undefined(tables: dict[str, pa.Table]) -> None:
    rows = tables["noise_tests"].to_pylist()
    whole = [row for row in rows if row["cut"] == "parameters"]
    assert {row["mauchly_null"] for row in whole} == {"undefined"}
    assert {row["mauchly_p"] for row in whole} == {None}
    assert all(0 <= row["spatial_sign_p"] <= 1 for row in rows)


def test_p_values_are_corrected_within_one_control() -> None:
    rows = [{"source": s, "delta_p": p} for s in ("global", "tensorwise") for p in (0.01, 0.04)]
    correct_for_examples(rows)
    assert [row["delta_p_holm"] for row in rows] == pytest.approx([0.02, 0.04] * 2)
    assert [row["delta_p_bh"] for row in rows] == pytest.approx([0.02, 0.04] * 2)


def test_noise_along_the_drift_is_aligned_and_its_control_is_not() -> None:
    draw = np.random.default_rng(0)
    along = draw.normal(size=(50, 8)) * [9, 1, 1, 1, 1, 1, 1, 1]
    across = draw.normal(size=(50, 8)) * [1, 1, 1, 1, 1, 1, 1, 9]
    drifts = np.eye(8)[:1] + 0.01 * draw.normal(size=(3, 8))
    stream = torch.Generator().manual_seed(0)
    features = draw.normal(size=(60, 8))
    found = alignment_rows({"sgd": along, "global": across}, drifts[0], drifts, features, 1, stream)
    sgd, control = found
    assert sgd["alignment"] > 0.9 > 0.2 > control["alignment"]
    assert sgd["overlap"] > 0.9 > 0.2 > control["overlap"]
    assert sgd["uniform"] == sgd["overlap_random"] == 1 / 8
    assert sgd["features"] == pytest.approx(1 / 8, abs=0.05)


def test_a_unit_gives_the_same_rows_again(tables: dict[str, pa.Table], home: Path) -> None:
    again = noise.compute(planned(steps=(4, 10))[0].spec, home, lambda share: None)
    assert all(again[kind].equals(tables[kind]) for kind in tables)


def test_evidence_of_a_row_is_that_of_its_draws() -> None:
    draw = np.random.default_rng(1)
    sgd, control = draw.normal(size=(2, 30, 4))
    row = noise_rows.tested(control, "global", Isotropic(torch.Generator()), sgd)
    assert row["delta"] == evidence(sgd, control).difference
