"""Noise of SGD: closed forms of linear regression, and planted laws told apart."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featdyn_engine.science.alignment import (
    alignment,
    feature_baseline,
    leading_directions,
    random_overlap,
    subspace_overlap,
    uniform_baseline,
)
from featdyn_engine.science.noise import (
    evidence,
    gradients,
    independent_batches,
    isotropic_steps,
    moved_features,
    tensor_sizes,
    verdict,
)
from featdyn_engine.science.sphericity import john, spatial_sign


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeded(*blocks: nn.Module) -> nn.Sequential:
    network = nn.Sequential(*blocks)
    draw = stream(7)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.3 * torch.randn(value.shape, generator=draw))
    return network.eval()


def small() -> nn.Sequential:
    """Two blocks; the first ends in BatchNorm, whose statistics must not move."""
    first = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    return seeded(first, nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))


IMAGES = torch.randn(40, 1, 4, 4, generator=stream(1))
LABELS = torch.randint(4, (40,), generator=stream(2))


def batches(draws: int, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    chosen = independent_batches(40, size, draws, stream(3))
    return [(IMAGES[each], LABELS[each]) for each in chosen]


def test_batches_repeat_no_example_inside_but_do_between() -> None:
    drawn = independent_batches(10, 6, 200, stream())
    assert all(len(set(each.tolist())) == 6 for each in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=10)
    assert counts.sum() == 1200
    assert (counts - 120).abs().max() < 30
    # A partition would never repeat an example in two neighbouring batches of 6 out of 10.
    assert drawn[0].tolist() != drawn[1].tolist()
    with pytest.raises(ValueError, match="expected batch_size 1 to 10"):
        independent_batches(10, 11, 2, stream())


def test_a_gradient_is_the_slope_of_the_loss_and_leaves_the_network_as_it_was() -> None:
    network = small()
    before = copy.deepcopy(network.state_dict())
    network.requires_grad_(False)
    rows = gradients(network, batches(2), label_smoothing=0.1)
    assert rows.shape == (2, sum(tensor_sizes(network)))
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(value.grad is None for value in network.parameters())
    wide = copy.deepcopy(network).double()
    images, labels = batches(2)[1]
    flat = nn.utils.parameters_to_vector(wide.parameters())
    for place in (0, 5, 31, 40, len(flat) - 1):
        losses = []
        for shift in (1e-5, -1e-5):
            moved = flat.clone()
            moved[place] += shift
            nn.utils.vector_to_parameters(moved, wide.parameters())
            logits = wide(images.double())
            losses.append(nn.functional.cross_entropy(logits, labels, label_smoothing=0.1))
        slope = float(losses[0] - losses[1]) / 2e-5
        assert float(rows[1, place]) == pytest.approx(slope, abs=1e-5)


def test_gradients_of_a_linear_model_have_the_covariance_of_its_closed_form() -> None:
    """Softmax regression: g_i = (softmax - onehot) x_i'; of batches of m out of N without
    replacement Cov g = C/m (N-m)/(N-1), C the covariance of g_i over examples."""
    network = seeded(nn.Linear(3, 2, bias=False))
    x = torch.randn(30, 3, generator=stream(4))
    y = torch.randint(2, (30,), generator=stream(5))
    with torch.no_grad():
        slope = network(x).softmax(dim=1) - nn.functional.one_hot(y, 2)
    each = (slope[:, :, None] * x[:, None, :]).flatten(1).double().numpy()
    chosen = independent_batches(30, 5, 2000, stream(6))
    rows = gradients(network, [(x[i], y[i]) for i in chosen]).double().numpy()
    expected = np.cov(each, rowvar=False, bias=True) / 5 * (25 / 29)
    error = np.abs(np.cov(rows, rowvar=False) - expected).max()
    assert error < 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(rows[0], each[chosen[0]].mean(axis=0), atol=1e-6)


def test_features_of_a_moved_network_are_those_of_its_moved_weights() -> None:
    network = small()
    shallow = network[:1].eval()
    sizes = tensor_sizes(shallow)
    steps = 0.1 * torch.randn(3, sum(sizes), generator=stream(8))
    found = moved_features(shallow, IMAGES[:5], steps)
    for step, features in zip(steps, found, strict=True):
        moved = copy.deepcopy(shallow)
        flat = nn.utils.parameters_to_vector(moved.parameters()) + step
        nn.utils.vector_to_parameters(flat, moved.parameters())
        with torch.no_grad():
            torch.testing.assert_close(features, moved(IMAGES[:5]).mean(dim=(2, 3)))
    with pytest.raises(ValueError, match=r"steps: expected \(B, 36\), got \(3, 4\)"):
        moved_features(shallow, IMAGES, torch.zeros(3, 4))


def test_shallow_parameters_come_first_in_a_gradient() -> None:
    network = small()
    rows = gradients(network, batches(1))
    cut = sum(tensor_sizes(network[:1]))
    wide = copy.deepcopy(network)
    nn.functional.cross_entropy(wide(batches(1)[0][0]), batches(1)[0][1]).backward()
    shallow = torch.cat([value.grad.flatten() for value in wide[:1].parameters()])
    torch.testing.assert_close(rows[0, :cut], shallow)


def test_training_mode_is_refused_as_statistics_would_move() -> None:
    network = small().train()
    with pytest.raises(ValueError, match=r"evaluation mode: call \.eval\(\) first"):
        gradients(network, batches(1))
    with pytest.raises(ValueError, match=r"evaluation mode: call \.eval\(\) first"):
        moved_features(network[:1], IMAGES, torch.zeros(1, 36))


@pytest.mark.parametrize("sizes", [[10], [4, 6]])
def test_control_steps_keep_each_norm_and_no_direction(sizes: list[int]) -> None:
    noise = torch.randn(400, 10, generator=stream(9)) * torch.tensor([9.0] * 4 + [1.0] * 6)
    steps = isotropic_steps(noise, sizes, stream(10))
    for one, other in zip(noise.split(sizes, dim=1), steps.split(sizes, dim=1), strict=True):
        torch.testing.assert_close(one.norm(dim=1), other.norm(dim=1))
        assert spatial_sign(other.numpy()).p_value > 0.001
    with pytest.raises(ValueError, match="sizes: expected a sum of 10, got 9"):
        isotropic_steps(noise, [9], stream())


def planted(law: str, b: int = 120, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(b, 64))
    if "anisotropic" in law:
        rows[:, :4] *= 4
    if "heavy" in law:
        rows *= np.sqrt(5 / draw.chisquare(5, size=(b, 1)))
    return rows


def control_of(rows: np.ndarray, seed: int = 1) -> np.ndarray:
    centred = torch.tensor(rows - rows.mean(axis=0))
    return isotropic_steps(centred, [rows.shape[1]], stream(seed)).numpy()


# A steeper one, k^-1, leaves 2.4 directions of isotropic noise: no room to see fewer.
JACOBIANS = {"none": np.eye(64), "power law": np.diag(np.arange(1, 65) ** -0.5)}


@pytest.mark.parametrize("through", JACOBIANS)
@pytest.mark.parametrize(
    "law", ["isotropic", "isotropic heavy", "anisotropic", "anisotropic heavy"]
)
def test_planted_laws_are_told_apart_whatever_the_tails_and_the_jacobian(
    law: str, through: str
) -> None:
    jacobian = JACOBIANS[through]
    expected = "anisotropic" if law.startswith("anisotropic") else "no anisotropy shown"
    concluded = []
    for seed in range(20):
        rows = planted(law, seed=seed)
        found = verdict(evidence(rows @ jacobian, control_of(rows, seed) @ jacobian))
        concluded.append(found.conclusion)
    # Of isotropic noise, 2.5 % end on the wrong side: more than 3 of 20 less than once in 1,000.
    assert concluded.count(expected) >= 17, concluded


def test_a_gaussian_rejection_of_heavy_tails_does_not_enter_the_verdict() -> None:
    rows = planted("isotropic heavy")
    assert john(rows).p_value < 1e-6
    found = verdict(evidence(rows, control_of(rows)))
    assert found.conclusion == "no anisotropy shown"
    assert "Delta log PR_sign = " in found.reason
    assert "the interval holds 0" in found.reason


def test_evidence_of_a_law_against_itself_covers_zero_at_its_level() -> None:
    held = 0
    for seed in range(200):
        rows = planted("anisotropic", b=40, seed=seed)
        found = evidence(rows, planted("anisotropic", b=40, seed=1000 + seed))
        held += found.low <= 0 <= found.high
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)
        assert found.difference == pytest.approx(found.log_sgd - found.log_control)
    assert 0.90 <= held / 200 <= 0.99


def test_evidence_needs_as_many_draws_of_both() -> None:
    with pytest.raises(ValueError, match="expected one shape of both"):
        evidence(planted("isotropic"), planted("isotropic", b=50))


def test_alignment_is_the_share_of_the_drift_in_the_leading_span() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 6)) * [9, 6, 1, 1, 1, 1] + 50
    basis = leading_directions(rows, 2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    assert alignment(basis, [3.0, 0, 4.0, 0, 0, 0]) == pytest.approx(9 / 25, abs=0.02)
    assert np.isnan(alignment(basis, np.zeros(6)))
    assert alignment(basis, basis @ [1.0, -2.0]) == pytest.approx(1)


def test_uniform_baseline_is_that_of_drawn_directions() -> None:
    drawn = np.random.default_rng(1).normal(size=(20_000, 8))
    shares = (drawn[:, :3] ** 2).sum(axis=1) / (drawn**2).sum(axis=1)
    found = uniform_baseline(3, 8)
    assert found.mean == pytest.approx(shares.mean(), abs=0.005)
    assert found.low == pytest.approx(np.quantile(shares, 0.025), abs=0.01)
    assert found.high == pytest.approx(np.quantile(shares, 0.975), abs=0.01)
    assert uniform_baseline(4, 4).mean == 1


def test_baseline_of_features_is_that_of_their_covariance() -> None:
    draw = np.random.default_rng(2)
    features = draw.normal(size=(500, 5)) * [5, 1, 1, 1, 1] + 3
    basis = np.eye(5)[:, :1]
    z = draw.multivariate_normal(np.zeros(5), np.cov(features, rowvar=False), size=20_000)
    expected = (z[:, 0] ** 2 / (z**2).sum(axis=1)).mean()
    assert feature_baseline(basis, features, 5000, stream()).mean == pytest.approx(
        expected, abs=0.02
    )


def test_spans_drawn_uniformly_overlap_as_much_as_said() -> None:
    draw = np.random.default_rng(3)
    found = []
    for _ in range(300):
        one, other = (np.linalg.qr(draw.normal(size=(12, k)))[0] for k in (2, 5))
        found.append(subspace_overlap(one, other))
    assert np.mean(found) == pytest.approx(random_overlap(2, 5, 12), abs=0.02)
    assert subspace_overlap(one, one) == pytest.approx(1)


def test_one_jacobian_aligns_independent_noise_with_drift_and_the_control_shows_it() -> None:
    """Why k/p is a straw man: isotropic noise and drift, independent, through one power law."""
    draw = np.random.default_rng(4)
    jacobian = np.arange(1, 65) ** -1.0
    noise, control = (draw.normal(size=(200, 64)) * jacobian for _ in range(2))
    own, base = (leading_directions(rows, 5) for rows in (noise, control))
    drifts = draw.normal(size=(100, 64)) * jacobian
    a, baseline = (np.mean([alignment(u, d) for d in drifts]) for u in (own, base))
    assert a > 0.6
    assert uniform_baseline(5, 64).mean < 0.08
    assert a == pytest.approx(baseline, abs=0.03)
