"""Steps of optimisers at fixed weights, against torch.optim doing the update."""

import pytest
import torch

from featdyn_engine.science.steps import adam_directions, optimizer_state

BETAS, EPS, LR = (0.9, 0.99), 1e-8, 0.01


def drawn(b: int = 6, p: int = 5) -> torch.Tensor:
    return torch.randn(b, p, generator=torch.Generator().manual_seed(3)) * torch.arange(1.0, p + 1)


def by_torch(gradient: torch.Tensor, all_of_them: torch.Tensor, updates: int) -> torch.Tensor:
    """Let Adam itself take the step from the state that ``updates`` mean gradients leave."""
    weight = torch.zeros(len(gradient), requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=LR, betas=BETAS, eps=EPS)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    first, second = torch.zeros_like(gradient), torch.zeros_like(gradient)
    for _ in range(updates):
        first = BETAS[0] * first + (1 - BETAS[0]) * all_of_them.mean(dim=0)
        second = BETAS[1] * second + (1 - BETAS[1]) * all_of_them.square().mean(dim=0)
    state = optimizer.state[weight]
    state["step"].fill_(updates)
    state["exp_avg"].copy_(first)
    state["exp_avg_sq"].copy_(second)
    with torch.no_grad():
        weight.zero_()
    weight.grad = gradient.clone()
    optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("updates", [0, 1, 7, 300])
def test_directions_are_those_of_torch_optim(updates: int) -> None:
    gradients = drawn()
    found = adam_directions(gradients, updates, BETAS, EPS)
    for gradient, direction in zip(gradients, found, strict=True):
        step = by_torch(gradient, gradients, updates)
        torch.testing.assert_close(-LR * direction, step, rtol=1e-4, atol=1e-7)


def test_the_first_step_is_the_sign_of_the_gradient_whatever_the_state() -> None:
    gradients = drawn()
    found = adam_directions(gradients, 0, BETAS, EPS)
    torch.testing.assert_close(found, gradients.sign(), atol=1e-5, rtol=0)
    assert optimizer_state("adam", 0) == "exact"
    assert optimizer_state("adamw", 5) == "estimated"
    assert optimizer_state("sgd", 5) == "none"


def test_coordinates_of_any_scale_have_steps_of_one_scale() -> None:
    gradients = drawn(50)
    scaled = gradients * torch.tensor([1.0, 100.0, 1e-3, 1.0, 10.0])
    one, other = (adam_directions(each, 1000, BETAS, EPS) for each in (gradients, scaled))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_no_draws_and_negative_updates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"updates of 0 or more, got \(6, 5\) and -1"):
        adam_directions(drawn(), -1, BETAS, EPS)
    with pytest.raises(ValueError, match=r"B at least 1, .* got \(0, 5\)"):
        adam_directions(torch.zeros(0, 5), 1, BETAS, EPS)
