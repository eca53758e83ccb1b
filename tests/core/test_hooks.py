import pytest
import torch

from anylatent.hooks.base import Hook, Store
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.nn.sites import Site
from anylatent.testing.hooks import HookContract


class TestResidualCache(HookContract):
    @pytest.fixture(
        scope="class", params=[ResidualCache(threshold=0.3), ResidualCache(threshold=0.3, forecast=False)], ids=["forecast", "held"]
    )
    @classmethod
    def hook(cls, request: pytest.FixtureRequest) -> Hook:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        return ResidualCache(threshold=0.0)


class TestStore:
    SITE = Site("trunk")

    def test_it_keeps_valid_tokens_whatever_the_padding(self) -> None:
        store = Store()
        values, mask = torch.randn(2, 4, 3), torch.tensor([[True, False, True, True], [True, True, False, False]])
        store.write("x", self.SITE, [(7, "a"), (9, "a")], values, mask, torch.tensor([True, True]))
        other = torch.zeros(3, 5, 3)
        new_mask = torch.tensor([[False, True, True, False, False], [True] * 5, [False, True, False, True, True]])
        read, present = store.read("x", self.SITE, [(9, "a"), (9, "b"), (7, "a")], other, new_mask)
        assert present.tolist() == [True, False, True]
        assert torch.equal(read[0, 1:3], values[1, :2])
        assert torch.equal(read[2, [1, 3, 4]], values[0, [0, 2, 3]])
        assert not read[1].any()

    def test_over_budget_the_oldest_go(self) -> None:
        store = Store(budget=2 * 4 * 3 * 4)
        for row in range(3):
            store.write("x", self.SITE, [(row, "a")], torch.ones(1, 4, 3), None, torch.tensor([True]))
        assert store.evicted == 1
        _, present = store.read("x", self.SITE, [(0, "a"), (1, "a"), (2, "a")], torch.zeros(3, 4, 3), None)
        assert present.tolist() == [False, True, True]
        store.forget(1)
        assert store.bytes == 4 * 3 * 4
