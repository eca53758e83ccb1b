"""What every guidance must hold to."""

from typing import Any

import pytest
import torch

from anylatent.engine import Request, sample
from anylatent.guidance.base import Guidance
from anylatent.guidance.none import Unguided
from anylatent.moment import Here, Moment
from anylatent.paths.base import Path
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.spec import AxisSpec, StreamSpec
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
    def oracle(cls) -> MixtureOracle:
        generator = torch.Generator().manual_seed(0)
        return MixtureOracle(Rectified(), torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.3))

    def _sample(self, oracle: MixtureOracle, guidance: Guidance, seeds: list[int]):
        asked = oracle.conditions([{"component": seed % 3} for seed in seeds])
        null = oracle.conditions.null(len(seeds))
        return sample(oracle, Request(oracle.layout(seeds), asked, Sampling(steps=8, guidance=guidance), null))

    def test_neutral_is_exact(self, oracle: MixtureOracle, neutral: Guidance) -> None:
        """Bit for bit the unguided sample, for the same number of network calls."""
        plain, unguided = self._sample(oracle, Unguided(), [0, 1, 2, 3])
        same, receipts = self._sample(oracle, neutral, [0, 1, 2, 3])
        assert torch.equal(plain["tokens"].values, same["tokens"].values)
        assert receipts["engine"].counts["network_calls"] == unguided["engine"].counts["network_calls"]

    def test_it_changes_samples_and_counts_its_calls(self, oracle: MixtureOracle, guidance: Guidance) -> None:
        plain, _ = self._sample(oracle, Unguided(), [0, 1, 2, 3])
        before = oracle.calls
        guided, receipts = self._sample(oracle, guidance, [0, 1, 2, 3])
        assert not torch.equal(plain["tokens"].values, guided["tokens"].values)
        assert receipts["engine"].counts["network_calls"] == oracle.calls - before

    def test_rows_are_alone_together(self, oracle: MixtureOracle, guidance: Guidance) -> None:
        together, receipts = self._sample(oracle, guidance, [0, 1, 2, 3])
        for row in range(4):
            alone, own = self._sample(oracle, guidance, [row])
            torch.testing.assert_close(alone["tokens"].values[0], together["tokens"].values[row], atol=1e-5, rtol=0)
            assert own["engine"].rows[0] == receipts["engine"].rows[row]
