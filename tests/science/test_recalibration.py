import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from featdyn_engine.science.recalibration import batch_norms, estimating, recalibrate
from tests.science import small

IMAGES, _ = small.examples(60, seed=9)
BATCHES = IMAGES.split(20)


def test_statistics_are_the_means_over_mini_batches_by_hand() -> None:
    network = small.convolutional(0)
    norm = network[0][1]
    with torch.no_grad():
        features = [network[0][0](x) for x in BATCHES]
    recalibrate(network, BATCHES)
    mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in features]).mean(dim=0)
    var = torch.stack([x.var(dim=(0, 2, 3)) for x in features]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == 3


def test_statistics_are_those_of_update_bn() -> None:
    network = small.convolutional(1)
    expected = copy.deepcopy(network)
    update_bn(BATCHES, expected)
    recalibrate(network, BATCHES)
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], tensor)


def test_weights_modes_and_momenta_stay() -> None:
    network = small.convolutional(2)
    network[1][1].momentum = 0.3
    before = copy.deepcopy(network.state_dict())
    recalibrate(network, BATCHES)
    for key, tensor in network.state_dict().items():
        statistic = "running" in key or "num_batches" in key
        assert torch.equal(tensor, before[key]) != statistic, key
    assert [norm.momentum for norm in batch_norms(network)] == [0.1, 0.3, 0.1]
    assert not any(module.training for module in network.modules())


def test_old_statistics_leave_no_trace() -> None:
    one, other = small.convolutional(3), small.convolutional(3)
    for norm in batch_norms(other):
        norm.running_mean.fill_(torch.nan)
        norm.running_var.fill_(1e6)
    recalibrate(one, BATCHES)
    recalibrate(other, BATCHES)
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key])


def test_dropout_stays_off() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1)).eval()
    with estimating(network):
        assert network[1].training
        assert not network[0].training
        assert not network.training
        network(IMAGES)
    torch.testing.assert_close(network[1].running_mean, IMAGES.mean()[None])


def test_modes_come_back_after_an_error() -> None:
    network = small.convolutional(4)
    network[2][1].train()
    with pytest.raises(ZeroDivisionError), estimating(network):
        raise ZeroDivisionError
    assert [norm.training for norm in batch_norms(network)] == [False, False, True]
    assert all(norm.momentum == 0.1 for norm in batch_norms(network))


def test_a_network_without_running_statistics_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    before = copy.deepcopy(network.state_dict())
    assert batch_norms(network) == []

    def unread() -> object:
        raise AssertionError

    recalibrate(network, iter(unread, None))  # type: ignore[arg-type]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
