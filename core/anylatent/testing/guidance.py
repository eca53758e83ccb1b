"""What every guidance must hold to."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Finished, Request
from anylatent.guidance.base import Guidance
from anylatent.guidance.none import Unguided
from anylatent.moment import Here, Moment
from anylatent.paths.base import Path
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import Ancestral
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Float, Tensor


def here_at(path: Path, x: Float[Tensor, "rows tokens width"], t: Float[Tensor, "rows #tokens 1"], **facts: Any) -> Here:
    """Where a guidance or a correction is asked, made by hand: tokens `x` at times `t`, none masked, in step 0 of 1."""
    rows, tokens, width = x.shape
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    spec = StreamSpec(name="tokens", width=width, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
    positions = torch.arange(tokens, dtype=torch.float32)[None, :, None].expand(rows, -1, -1)
    moment = Moment(t.flatten(1).amax(1), torch.zeros(rows, dtype=torch.long), torch.ones(rows, dtype=torch.long))
    return Here(spec, path, x, t, mask, ~mask, positions, moment, torch.ones(rows, dtype=torch.bool), **facts)


class GuidedTransformer(Denoiser):
    """A small transformer whose weights do something, over ragged sequences of 4 to 8 tokens, with two conditions."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        spec = StreamSpec(name="tokens", width=3, axes=(AxisSpec(name="i", unit="1"),), order="sequence")
        named = {name: ClassConfig().build(32, [0, 1, 2]) for name in ("component", "part")}
        backbone = DiTConfig(depth=3, width=32, heads=2).build((spec,), False)
        super().__init__(backbone, Conditions(32, named), {"tokens": Corruption(Rectified(), "velocity")})
        shaken(self, seed=seed, size=0.1)
        self.eval().requires_grad_(False)
        self.calls = 0
        """Rows that were asked, over all calls."""

    def layout(self, seeds: Sequence[int]) -> State:
        """Empty rows to sample into."""
        sizes = torch.tensor([4 + seed % 5 for seed in seeds])
        mask = torch.arange(int(sizes.max()))[None] < sizes[:, None]
        positions = torch.arange(mask.shape[1], dtype=torch.float32)[None, :, None].expand(len(seeds), -1, -1)
        return State.of({"tokens": Stream.of(torch.zeros(*mask.shape, 3), positions, mask)}, seeds)

    def forward(self, state: State, *rest: Any) -> dict[str, Tensor]:
        self.calls += len(state)
        return super().forward(state, *rest)


class GuidanceContract:
    """Subclass it and give two fixtures: the guidance at work, and the same kind with its neutral setting.

    class TestMine(GuidanceContract):
        @pytest.fixture(scope="class")
        @classmethod
        def guidance(cls):
            return MyGuidance(scale=3)

        @pytest.fixture(scope="class")
        @classmethod
        def neutral(cls):
            return MyGuidance(scale=1)

    The denoiser is an exact mixture; a guidance that needs sites gives the fixture `denoiser` a `GuidedTransformer`, one that
    asks other denoisers gives `others`. Rows are asked `component` (and whatever else the denoiser knows).
    """

    @pytest.fixture(scope="class")
    @classmethod
    def guidance(cls) -> Guidance:
        raise NotImplementedError("give the fixture `guidance`")

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        raise NotImplementedError("give the fixture `neutral`")

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Any:
        generator = torch.Generator().manual_seed(0)
        return MixtureOracle(Rectified(), torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.3))

    @pytest.fixture(scope="class")
    @classmethod
    def others(cls) -> Mapping[str, Any]:
        return {}

    def _request(
        self, denoiser: Any, others: Mapping[str, Any], guidance: Guidance, seeds: Sequence[int], steps: int = 4, keep: bool = False
    ) -> Request:
        asked = [{name: seed % (3 if name == "component" else 2) for name in denoiser.conditions.named} for seed in seeds]

        def named(encode: Conditions):
            variants = {name: encode([variant.of(row) for row in asked]) for name, variant in guidance.variants().items()}
            return {"asked": encode(asked), "null": encode.null(len(seeds)), **variants}

        state = denoiser.layout(seeds)
        if keep:
            given = torch.zeros_like(state["tokens"].mask).index_fill(1, torch.tensor([1]), True)
            values = given[..., None] * torch.full_like(state["tokens"].values, 0.7)
            state = state.with_values({"tokens": values}).with_kept("tokens", given)
        main = named(denoiser.conditions)
        beside = {name: named(other.conditions) for name, other in others.items()}
        sampling = Sampling(steps=steps, solver=Ancestral(), guidance=guidance)  # densities are followed by its noise
        return Request(state, main.pop("asked"), sampling, main.pop("null"), variants=main, beside=beside)

    def _run(self, denoiser: Any, others: Mapping[str, Any], requests: Sequence[Request]) -> list[Finished]:
        """Requests that join one step after the other."""
        engine, done = Engine(denoiser, others=others), []
        for request in requests:
            engine.add(request)
            done += engine.step()
        return sorted([*done, *engine.stream()], key=lambda finished: finished.row)

    def _values(self, finished: Finished) -> Tensor:
        stream = finished.state["tokens"]
        return stream.values[0][stream.mask[0]]

    def test_neutral_is_exact(self, denoiser: Any, others: Mapping[str, Any], neutral: Guidance) -> None:
        """Bit for bit the unguided sample, for the same number of network calls."""
        plain = self._run(denoiser, others, [self._request(denoiser, others, Unguided(), [0, 1, 2, 3])])
        same = self._run(denoiser, others, [self._request(denoiser, others, neutral, [0, 1, 2, 3])])
        for one, other in zip(plain, same, strict=True):
            assert torch.equal(self._values(one), self._values(other))
            assert one.receipts["engine"] == other.receipts["engine"]

    def test_it_changes_samples_and_counts_its_calls(self, denoiser: Any, others: Mapping[str, Any], guidance: Guidance) -> None:
        plain = self._run(denoiser, others, [self._request(denoiser, others, Unguided(), [0, 1, 2, 3])])
        before = sum(each.calls for each in (denoiser, *others.values()))
        guided = self._run(denoiser, others, [self._request(denoiser, others, guidance, [0, 1, 2, 3])])
        calls = sum(each.calls for each in (denoiser, *others.values())) - before
        assert any(not torch.equal(self._values(one), self._values(other)) for one, other in zip(plain, guided, strict=True))
        assert all(self._values(done).isfinite().all() for done in guided)
        assert sum(done.receipts["engine"]["network_calls"] for done in guided) == calls

    def test_rows_are_alone_together(self, denoiser: Any, others: Mapping[str, Any], guidance: Guidance, neutral: Guidance) -> None:
        """Rows of other lengths, steps and guidance that join one by one: each as it is alone, with the same receipt; given tokens stay."""
        requests = [
            self._request(denoiser, others, neutral if seed == 1 else guidance, [seed], 3 + seed % 2, keep=seed == 2) for seed in range(3)
        ]
        together = self._run(denoiser, others, requests)
        for request, joined in zip(requests, together, strict=True):
            [alone] = self._run(denoiser, others, [request])
            torch.testing.assert_close(self._values(joined), self._values(alone), atol=1e-5, rtol=0)
            assert joined.receipts == alone.receipts
            given, found = request.state["tokens"], joined.state["tokens"].values[:, : request.state["tokens"].shape[1]]
            assert torch.equal(found[given.keep], given.values[given.keep])
