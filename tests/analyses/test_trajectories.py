import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness

from featdyn_engine.analyses import displacement, trajectories
from featdyn_engine.analyses.asked import Evaluation
from featdyn_engine.analyses.pictured import QUALITY, Followed, contour_rows, example_rows
from featdyn_engine.analyses.trajectories import TABLE, Settings, followed, units
from featdyn_engine.api import load_network
from featdyn_engine.data import evaluation
from featdyn_engine.data import registry as data_registry
from featdyn_engine.domain import InputError, RunConfig, Unit
from featdyn_engine.science import embedding
from featdyn_engine.science.contours import density_contours
from featdyn_engine.science.execution import cpu_threads
from featdyn_engine.training import train
from tests.cases import HERE
from tests.recipes.runs import PERCEPTRON, with_recipe

STEPS = (0, 2, 5, 10)
RUN = replace(with_recipe(PERCEPTRON, schedule="step", milestones=(0.5,)), checkpoints=STEPS)
SETS = (Evaluation(split="test", n=60),)
N, K = 30, 6


def planned(run: RunConfig = RUN, **options: object) -> list[Unit]:
    asked = {"evaluations": SETS, "n": N, "n_neighbors": K} | options
    return units(Settings(**asked), run, HERE)  # type: ignore[arg-type]


def swirl(reduced: np.ndarray, n_neighbors: int, min_dist: float, seed: int) -> np.ndarray:
    """Stand in for a UMAP: quick, nonlinear, and dependent on its seed."""
    return np.sin(reduced[..., :2] * (1 + seed)) + reduced[..., 1:3]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    train(RUN, folder)
    return folder


@pytest.fixture(scope="module")
def found(home: Path) -> Iterator[dict[str, pa.Table]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", "unused")
        patch.setitem(embedding.METHODS, "pooled_umap", swirl)
        yield trajectories.compute(planned()[0].spec, home, lambda share: None)


@pytest.fixture(scope="module")
def features(home: Path) -> np.ndarray:
    """Features of the followed examples behind layer2, made the plain way: (T, N, F)."""
    images = evaluation.load(planned()[0].spec.evaluation, HERE).images[followed(60, N)]
    with torch.no_grad():
        return np.stack(
            [load_network(home, RUN.run_id, step)[:2](images).numpy() for step in STEPS]
        )


def of_layer2(table: pa.Table, method: str = "pooled_umap") -> list[dict[str, object]]:
    rows = table.to_pylist()
    return [row for row in rows if row["cut"] == "layer2" and row["method"] == method]


def test_a_unit_is_a_run_on_a_set_and_writes_its_quality_beside_it() -> None:
    (unit,) = planned()
    assert unit.kind == "trajectories"
    assert unit.companions == ("trajectory_quality", "trajectory_contours", "trajectory_images")
    assert unit.needs == (RUN.run_id, unit.spec.evaluation.eval_id)
    assert "compiles first" in unit.label
    assert planned(method="pca")[0].label == "trajectories test"
    known = unit.unit_id
    assert planned(memory=64)[0].unit_id == known
    for other in ({"n": 40}, {"seed": 1}, {"method": "pca"}, {"min_dist": 0.5}):
        assert planned(**other)[0].unit_id != known


def test_a_label_says_that_umap_compiles_only_where_it_has_not_yet(tmp_path: Path) -> None:
    (tmp_path / "cache" / "numba" / "umap").mkdir(parents=True)
    assert "compiles first" in trajectories._to_wait_for("pooled_umap", tmp_path)
    (tmp_path / "cache" / "numba" / "umap" / "kernel.1.nbc").touch()
    assert trajectories._to_wait_for("pooled_umap", tmp_path) == ""
    assert trajectories._to_wait_for("pca", tmp_path / "none") == ""


def test_bad_settings_are_refused_while_planning() -> None:
    with pytest.raises(InputError, match="n: expected at most the 60 examples of the test set"):
        planned(n=61)
    with pytest.raises(InputError, match=r"cuts: expected names among layer1, .* got 'head'"):
        planned(cuts=("head",))
    with pytest.raises(InputError, match="n_neighbors: expected fewer than half of n = 30"):
        planned(n_neighbors=15)


def test_features_that_memory_cannot_hold_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "unused")
    monkeypatch.setattr(trajectories, "COPIES", 10_000)
    spec = replace(planned(method="pca")[0].spec, memory=16)
    with pytest.raises(InputError, match="memory: expected 73 MiB for the features of 30 examples"):
        trajectories.compute(spec, home, lambda share: None)


def test_rows_are_every_example_at_every_checkpoint_by_both_methods(
    found: dict[str, pa.Table],
) -> None:
    table = found["trajectories"]
    assert table.schema.equals(TABLE)
    keys = list(
        zip(
            *(table[name].to_pylist() for name in ("cut", "method", "step", "example")), strict=True
        )
    )
    assert len(set(keys)) == len(keys) == 3 * 2 * len(STEPS) * N
    assert sorted(set(table["example"].to_pylist())) == followed(60, N).tolist()
    labels = evaluation.load(planned()[0].spec.evaluation, HERE).labels
    for row in table.slice(0, 50).to_pylist():
        assert row["label"] == labels[row["example"]]
    assert table["norm"].unique().to_pylist() == ["inherit"]
    for name in ("x", "y"):
        assert table[name].null_count == 0


def test_a_move_is_about_its_own_example_and_checkpoint(
    found: dict[str, pa.Table], features: np.ndarray
) -> None:
    order = followed(60, N).tolist()
    # The learning rate is 0.05 up to step 5, then a tenth.
    gained = {0: None, 2: 0.1, 5: 0.15, 10: 0.025}
    for row in of_layer2(found["trajectories"]):
        t, i = STEPS.index(row["step"]), order.index(row["example"])
        if t == 0:
            assert row["displacement"] is row["speed"] is row["turning"] is None
            continue
        spread = np.sqrt(((features[t] - features[t].mean(0)) ** 2).sum(1).mean())
        to = features[t, i] - features[t - 1, i]
        moved = np.linalg.norm(to) / spread
        assert row["displacement"] == pytest.approx(moved, rel=1e-4)
        assert row["speed"] == pytest.approx(moved / gained[row["step"]], rel=1e-4)
        if t == len(STEPS) - 1:
            assert row["turning"] is None
        elif row["turning"] is not None:
            on = features[t + 1, i] - features[t, i]
            cosine = to @ on / np.linalg.norm(to) / np.linalg.norm(on)
            assert row["turning"] == pytest.approx(cosine, abs=1e-4)


def test_each_row_has_the_class_that_its_checkpoint_predicts(
    found: dict[str, pa.Table], home: Path
) -> None:
    images = evaluation.load(planned()[0].spec.evaluation, HERE).images
    order = followed(60, N).tolist()
    with torch.no_grad():
        expected = {
            step: load_network(home, RUN.run_id, step)(images[order]).argmax(dim=1).tolist()
            for step in STEPS
        }
    for row in of_layer2(found["trajectories"]):
        assert row["predicted_label"] == expected[row["step"]][order.index(row["example"])]


def test_contours_are_those_of_the_classes_in_the_plane() -> None:
    """Two classes of a planted picture: a Gaussian, and one with too few examples."""
    draw = np.random.default_rng(0)
    of = planted(draw.normal(size=(3, 25, 4)), labels=[0] * 20 + [1] * 5)
    plane = draw.normal(size=(3, 25, 2)).astype(np.float32)
    rows = contour_rows(of, {"pca": plane}).to_pylist()
    assert {(row["step"], row["label"], row["mass"]) for row in rows} == {
        (step, 0, 0.5) for step in (0, 1, 2)
    }
    for row in rows:
        (line, *_) = density_contours(plane[row["step"], :20])
        if row["path"] == 0:
            np.testing.assert_allclose(row["x"], line[:, 0], rtol=1e-6)
        assert row["x"][0] == row["x"][-1]


def test_images_are_the_pixels_of_the_followed_examples(found: dict[str, pa.Table]) -> None:
    rows = found["trajectory_images"].to_pylist()
    assert [row["example"] for row in rows] == followed(60, N).tolist()
    images = evaluation.load(planned()[0].spec.evaluation, HERE).images
    dataset = data_registry.load(RUN.data, HERE)
    for row in rows[:5]:
        shown = torch.tensor(np.array(Image.open(BytesIO(row["png"]))))
        again = dataset.normalise((shown.double() / 255 * dataset.peak).round().to(torch.uint8))
        torch.testing.assert_close(again, images[row["example"]])


def planted(features: np.ndarray, labels: list[int] | None = None) -> Followed:
    """What ``pictured`` is told of made-up features (T, N, F)."""
    checkpoints, n = features.shape[:2]
    return Followed(
        shared={"run_id": "r", "eval_id": "e", "split": "test", "cut": "c", "depth": 1}
        | {"norm": "none"},
        steps=list(range(checkpoints)),
        positions=torch.arange(checkpoints).double(),
        examples=torch.arange(n),
        labels=torch.tensor(labels or [0] * n),
        predicted=torch.zeros(checkpoints, n, dtype=torch.int64),
        features=torch.tensor(features, dtype=torch.float32),
    )


def test_a_planted_jump_is_seen_in_the_stored_displacement_and_a_rotation_is_smooth() -> None:
    draw = np.random.default_rng(1)
    places, angles = draw.normal(size=(25, 2)), np.linspace(0, 1, 7)
    turns = np.array([[[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in angles])
    smooth = places @ turns
    jumping = smooth.copy()
    jumping[4:, 3] += 9
    stored = {}
    for name, features in (("smooth", smooth), ("jumping", jumping)):
        rows = example_rows(planted(features), {"pca": np.zeros((7, 25, 2), np.float32)})
        stored[name] = np.reshape(
            [
                np.nan if row["displacement"] is None else row["displacement"]
                for row in rows.to_pylist()
            ],
            (7, 25),
        )
    assert np.isnan(stored["smooth"][0]).all()
    spread = stored["smooth"][1:].std(axis=0) / stored["smooth"][1:].mean(axis=0)
    assert spread.max() < 1e-4
    assert np.unravel_index(np.nanargmax(stored["jumping"]), (7, 25)) == (4, 3)
    assert stored["jumping"][4, 3] > 5 * np.nanmedian(stored["jumping"][4])


def test_the_squared_displacement_is_that_of_the_displacement_analysis(
    home: Path, found: dict[str, pa.Table]
) -> None:
    whole = replace(planned(n=60)[0].spec, method="pca")
    quality = trajectories.compute(whole, home, lambda share: None)["trajectory_quality"]
    (unit,) = displacement.units(displacement.Settings(evaluations=SETS), RUN, HERE)
    cells = displacement.compute(unit.spec, home, lambda share: None).to_pylist()
    between = {(r["cut"], r["shallow_step"], r["deep_step"]): r["displacement"] for r in cells}
    before = dict(zip(STEPS[1:], STEPS, strict=False))
    for row in quality.to_pylist():
        if row["step"]:
            expected = between[row["cut"], before[row["step"]], row["step"]]
            assert row["displacement"] ** 2 == pytest.approx(expected, rel=1e-4)


def test_quality_is_that_of_scikit_learn_on_the_original_features(
    found: dict[str, pa.Table], features: np.ndarray
) -> None:
    table = found["trajectory_quality"]
    assert table.schema.equals(QUALITY)
    assert len(table) == 3 * len(STEPS)
    places = {
        method: np.reshape(
            [(row["x"], row["y"]) for row in of_layer2(found["trajectories"], method)],
            (len(STEPS), N, 2),
        )
        for method in ("pooled_umap", "pca")
    }
    for t, row in enumerate(of_layer2(table)):
        assert (row["step"], row["n"], row["k"]) == (STEPS[t], N, K)
        assert row["chance"] == pytest.approx(K / (N - 1))
        for prefix, method in (("", "pooled_umap"), ("pca_", "pca")):
            spaces = (features[t], places[method][t])
            assert row[f"{prefix}trustworthiness"] == pytest.approx(
                trustworthiness(*spaces, n_neighbors=K), abs=1e-6
            )
            assert row[f"{prefix}continuity"] == pytest.approx(
                trustworthiness(*spaces[::-1], n_neighbors=K), abs=1e-6
            )
            assert row["chance"] < row[f"{prefix}neighbour_overlap"] <= 1
        if t == 0:
            assert row["spearman"] is None
            continue
        embedded = np.linalg.norm(places["pooled_umap"][t] - places["pooled_umap"][t - 1], axis=1)
        moved = np.linalg.norm(features[t] - features[t - 1], axis=1)
        assert row["spearman"] == pytest.approx(spearmanr(moved, embedded).statistic, abs=1e-3)


def test_parameters_and_versions_say_how_the_picture_was_made(found: dict[str, pa.Table]) -> None:
    row = found["trajectory_quality"].to_pylist()[0]
    assert json.loads(row["parameters"]) == {
        "pca_dimensions": 50,
        "seed": 0,
        "n_neighbors": K,
        "min_dist": 0.1,
    }
    assert {"umap-learn", "numba", "scikit-learn"} <= json.loads(row["versions"]).keys()


def test_a_seeded_run_repeats_to_the_bit(
    found: dict[str, pa.Table], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "unused")
    monkeypatch.setitem(embedding.METHODS, "pooled_umap", swirl)
    spec = planned()[0].spec
    again = trajectories.compute(spec, home, lambda share: None)
    assert again == found
    other = trajectories.compute(replace(spec, seed=1), home, lambda share: None)
    assert other["trajectories"]["x"] != found["trajectories"]["x"]


def test_what_umap_compiles_is_kept_in_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    heard: list[float] = []
    trajectories.compute(planned(method="pca")[0].spec, home, heard.append)
    assert trajectories.os.environ["NUMBA_CACHE_DIR"] == str((home / "cache" / "numba").resolve())
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
