import torch

from featdyn_engine.randomness import generator, subset


def draw(purpose: str, *seeds: int) -> list[int]:
    return torch.randint(1 << 40, (8,), generator=generator(purpose, *seeds)).tolist()


def test_purpose_and_seeds_determine_the_draws() -> None:
    torch.manual_seed(1)
    one = draw("order", 3, 4)
    torch.manual_seed(2)
    assert draw("order", 3, 4) == one


def test_the_draws_are_pinned() -> None:
    # Another stream would be other data under the same run_id.
    order = torch.randperm(10, generator=generator("order", 0, 0)).tolist()
    assert order == [3, 4, 0, 9, 2, 1, 8, 5, 7, 6]


def test_another_purpose_seed_or_order_of_seeds_is_another_stream() -> None:
    streams = [
        draw("order", 0, 1),
        draw("order", 1, 0),
        draw("order", 0),
        draw("order", 0, 0),
        draw("order"),
        draw("order", 1, 1),
        draw("label noise", 0, 1),
    ]
    assert len({tuple(stream) for stream in streams}) == len(streams)


def test_neighbouring_seeds_are_unrelated() -> None:
    streams = torch.stack([torch.randn(2000, generator=generator("x", seed)) for seed in range(6)])
    correlation = torch.corrcoef(streams) - torch.eye(6)
    assert correlation.abs().max() < 0.1


def test_large_seeds_are_told_apart() -> None:
    assert draw("order", 2**40) != draw("order", 2**40 + 1)
    assert draw("order", 2**40) != draw("order", 0)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draw("order", 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_generators_of_the_same_seed_do_not_share_a_state() -> None:
    one, other = generator("order", 1), generator("order", 1)
    torch.rand(5, generator=one)
    assert torch.equal(
        torch.rand(5, generator=other), torch.rand(5, generator=generator("order", 1))
    )


def test_a_subset_is_fixed_by_its_purpose_rises_and_is_not_the_first_ones() -> None:
    found = subset("test", 1000, 50)
    assert torch.equal(found, subset("test", 1000, 50))
    assert found.tolist() == sorted(set(found.tolist()))
    assert len(found) == 50
    assert not torch.equal(found, subset("other", 1000, 50))
    assert found.tolist() != list(range(50))
    assert subset("test", 4, 10).tolist() == [0, 1, 2, 3]
