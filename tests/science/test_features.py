"""Features as rows: means over space, whatever their shape."""

import pytest
import torch

from featdyn_engine.science.features import pooled


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
