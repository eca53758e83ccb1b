"""The cache of modulations: what it keeps, and what it hands out after it was emptied."""

import pytest
import torch

from anylatent.condition import Condition
from anylatent.denoiser import ModulationCache
from anylatent.denoiser_config import DiTConfig
from anylatent.nn.backbone import Backbone
from anylatent.testing.backbones import two_stream_specs
from anylatent.types import Tensor

LEVELS = torch.linspace(1, 0, 9)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return DiTConfig(depth=1, width=8, heads=1).build(two_stream_specs(), False).requires_grad_(False)


def vectors(count: int, seed: int) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_a_generator_that_stays_keeps_no_more_than_its_budget(backbone: Backbone) -> None:
    """Of always new conditions, as a policy's observations are."""
    cache = ModulationCache(backbone, 65_536)
    one = backbone.modulate(LEVELS[:1, None], vectors(1, 0)).nbytes
    assert 4 * len(LEVELS) * one < cache.budget < 300 * len(LEVELS) * one
    kept = []
    for seed in range(300):
        cache.prepare(cache.enter(Condition(vectors(2, seed))), LEVELS)
        kept.append(cache.nbytes)
    assert max(kept) <= cache.budget
    assert min(kept[10:]) < 0.5 * cache.budget, "it was emptied"
    assert cache.computed == 300 * 2 * len(LEVELS), "each once"


@pytest.mark.parametrize("budget", [1, 65_536])
def test_rows_in_flight_have_their_own_after_it_was_emptied(backbone: Backbone, budget: int) -> None:
    cache = ModulationCache(backbone, budget)
    early = cache.enter(Condition(vectors(3, 0)))
    cache.prepare(early, LEVELS)
    for seed in range(1, 40):
        cache.prepare(cache.enter(Condition(vectors(2, seed))), LEVELS)
    again = cache.enter(Condition(early.vector[[2, 0]]))
    both = Condition.cat([early.select(torch.tensor([1, 1, 0, 2])), again])
    levels = LEVELS[torch.tensor([[0, 3], [5, 5], [0, 8], [1, 2], [3, 4], [0, 0]])]
    torch.testing.assert_close(cache.get(levels, both), backbone.modulate(levels, both.vector))
    computed = cache.computed
    cache.get(levels, both)
    assert cache.computed == computed


def test_a_vector_that_comes_again_is_known(backbone: Backbone) -> None:
    cache = ModulationCache(backbone)
    for rows in ([0, 1, 0], [1], [1, 0]):
        cache.prepare(cache.enter(Condition(vectors(2, 0)[rows])), LEVELS)
    assert cache.computed == 2 * len(LEVELS)
