"""Features as rows: means over space, whatever their shape."""

import pytest
import torch

from featdyn_engine.science.features import pooled, projection


def test_feature_maps_are_pooled_to_means_of_their_places() -> None:
    maps = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    assert torch.equal(pooled(maps, 1), maps.mean(dim=(2, 3)))
    corners = [maps[:, :, i : i + 2, j : j + 2].mean(dim=(2, 3)) for i in (0, 2) for j in (0, 2)]
    assert torch.equal(pooled(maps, 2), torch.stack(corners, dim=2).flatten(1))
    tokens = maps.reshape(2, 12, 4)
    assert torch.equal(pooled(tokens, 2), tokens.mean(dim=1))
    assert torch.equal(pooled(tokens[:, 0], 1), tokens[:, 0])
    with pytest.raises(ValueError, match="expected 2 to 4 dimensions"):
        pooled(torch.ones(3), 1)
    with pytest.raises(ValueError, match="pool: expected at least 1, got 0"):
        pooled(maps, 0)


def test_a_projection_is_orthonormal_fixed_and_cut_to_what_there_is() -> None:
    maps = torch.randn(5, 2, 3, 2, generator=torch.Generator().manual_seed(0))
    basis = projection(12, 4)(torch.eye(12))
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(projection(12, 4)(maps), maps.flatten(1) @ basis)
    whole = projection(12, 50)(maps)
    assert whole.shape == (5, 12)
    torch.testing.assert_close(torch.cdist(whole, whole), torch.cdist(*[maps.flatten(1)] * 2))
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        projection(12, 0)
