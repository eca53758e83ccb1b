"""What every hook must hold to."""

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Request, sample
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.hooks.base import Hook
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.oracles import MixtureOracle


class HookContract:
    """Subclass it and give two fixtures: the hook at work, and with its neutral setting.

    class TestMine(HookContract):
        @pytest.fixture(scope="class")
        @classmethod
        def hook(cls):
            return MyHook(density=0.5)

        @pytest.fixture(scope="class")
        @classmethod
        def neutral(cls):
            return MyHook(density=1)
    """

    @pytest.fixture(scope="class")
    @classmethod
    def hook(cls) -> Hook:
        raise NotImplementedError("give the fixture `hook`")

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        raise NotImplementedError("give the fixture `neutral`")

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Denoiser:
        """A small DiT whose weights do something, over ragged sequences."""
        torch.manual_seed(0)
        spec = StreamSpec(name="tokens", width=3, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
        conditions = Conditions(32, {"label": ClassConfig().build(32, [0, 1, 2])})
        denoiser = Denoiser(
            DiTConfig(depth=3, width=32, heads=2).build((spec,), False), conditions, {"tokens": Corruption(Rectified(), "velocity")}
        )
        shaken(denoiser, size=0.1)
        return denoiser.eval().requires_grad_(False)

    def _request(self, denoiser: Denoiser, seeds: list[int], hooks: tuple[Hook, ...], steps: int = 8, scale: float = 2.0) -> Request:
        sizes = torch.tensor([4 + seed % 5 for seed in seeds])
        mask = torch.arange(int(sizes.max()))[None] < sizes[:, None]
        positions = torch.arange(mask.shape[1], dtype=torch.float32)[None, :, None].expand(len(seeds), -1, -1)
        state = State.of({"tokens": Stream.of(torch.zeros(*mask.shape, 3), positions, mask)}, seeds)
        condition = denoiser.conditions([{"label": seed % 3} for seed in seeds])
        sampling = Sampling(steps=steps, hooks=hooks, guidance=ClassifierFree(scale=scale))
        return Request(state, condition, sampling, denoiser.conditions.null(len(seeds)))

    def test_neutral_is_exact(self, denoiser: Denoiser, neutral: Hook) -> None:
        plain, _ = sample(denoiser, self._request(denoiser, [0, 1, 2], ()))
        same, _ = sample(denoiser, self._request(denoiser, [0, 1, 2], (neutral,)))
        assert torch.equal(plain["tokens"].values, same["tokens"].values)

    def test_it_does_something_and_says_so(self, denoiser: Denoiser, hook: Hook) -> None:
        plain, _ = sample(denoiser, self._request(denoiser, [0, 1, 2], ()))
        hooked, receipts = sample(denoiser, self._request(denoiser, [0, 1, 2], (hook,)))
        assert not torch.equal(plain["tokens"].values, hooked["tokens"].values)
        assert hooked["tokens"].values.isfinite().all()
        assert sum(receipts[hook.kind].counts.values()) > 0
        assert set(receipts[hook.kind].rows) == {0, 1, 2}

    def test_rows_are_alone_together(self, denoiser: Denoiser, hook: Hook) -> None:
        """8 rows that join one by one, with mixed steps, scales and with or without the hook: each as it is alone."""
        requests = [self._request(denoiser, [seed], (hook,) if seed % 4 else (), 5 + seed % 3, 1 + seed / 4) for seed in range(8)]
        alone = [sample(denoiser, request) for request in requests]
        engine, done = Engine(denoiser), {}
        for request in requests:
            engine.add(request)
            done |= {finished.row: finished for finished in engine.step()}
        done |= {finished.row: finished for finished in engine.stream()}
        for row, (state, receipts) in enumerate(alone):
            values = state["tokens"].values[0]
            torch.testing.assert_close(done[row].state["tokens"].values[0, : len(values)], values, atol=1e-5, rtol=0)
            assert done[row].receipts == {name: dict(receipt.rows[0]) for name, receipt in receipts.items()}, "decisions differ"

    def test_a_small_budget_costs_no_correctness(self, denoiser: Denoiser, neutral: Hook, hook: Hook) -> None:
        """With room for nothing the hook computes what it cannot remember."""
        starved, _ = sample(denoiser, self._request(denoiser, [0, 1], (hook,)), budget=1)
        plain, _ = sample(denoiser, self._request(denoiser, [0, 1], ()))
        torch.testing.assert_close(starved["tokens"].values, plain["tokens"].values, atol=1e-4, rtol=0)

    def test_it_leaves_nothing_behind(self, denoiser: Denoiser, hook: Hook) -> None:
        engine = Engine(denoiser)
        engine.add(self._request(denoiser, [0, 1], (hook,)))
        list(engine.stream())
        assert engine.store.bytes == 0

    def test_a_backbone_without_its_sites_refuses_it(self, hook: Hook) -> None:
        oracle = MixtureOracle.gauss(Rectified(), torch.zeros(2, 2), 1.0)
        with pytest.raises(ValueError, match=f"hook '{hook.kind}' needs the sites"):
            Engine(oracle).add(Request(oracle.layout([0]), oracle.conditions([{}]), Sampling(hooks=(hook,))))
