"""The hooks that guidance disturbs denoisers with, and looks into them: on their own."""

import pytest
import torch

from anylatent.denoiser import Denoiser
from anylatent.engine import Engine, Request, sample
from anylatent.hooks.attention_received import AttentionReceived
from anylatent.hooks.base import Hook
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.hooks.skip_blocks import SkipBlocks
from anylatent.hooks.tap import Tap
from anylatent.nn.sites import Site
from anylatent.sampling import Sampling
from anylatent.testing.guidance import GuidedTransformer
from anylatent.testing.hooks import HookContract


class Forgetful(HookContract):
    """A hook that remembers nothing does the same with or without room to remember."""

    def test_a_small_budget_costs_no_correctness(self, denoiser: Denoiser, neutral: Hook, hook: Hook) -> None:
        starved, _ = sample(denoiser, self._request(denoiser, [0, 1], (hook,)), budget=1)
        roomy, _ = sample(denoiser, self._request(denoiser, [0, 1], (hook,)))
        assert torch.equal(starved["tokens"].values, roomy["tokens"].values)


class TestPerturbAttention(Forgetful):
    @pytest.fixture(
        scope="class",
        params=[
            pytest.param(PerturbAttention(), marks=pytest.mark.slow, id="identity"),
            pytest.param(PerturbAttention(how="queries", sigma=1.0, blocks=(1,)), id="queries"),
        ],
    )
    @classmethod
    def hook(cls, request: pytest.FixtureRequest) -> Hook:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls, hook: PerturbAttention) -> Hook:
        return hook.model_copy(update={"share": 0.0})


class TestSkipBlocks(Forgetful):
    @pytest.fixture(scope="class")
    @classmethod
    def hook(cls) -> Hook:
        return SkipBlocks(blocks=(1,))

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        return SkipBlocks()


class TestAttentionReceived(HookContract):
    """It changes nothing, and remembers."""

    @pytest.fixture(scope="class")
    @classmethod
    def hook(cls) -> Hook:
        return AttentionReceived(block=1)

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        return AttentionReceived(block=1)

    def test_it_does_something_and_says_so(self, denoiser: Denoiser, hook: Hook) -> None:
        """Not to the samples; what it says is below."""
        plain, _ = sample(denoiser, self._request(denoiser, [0, 1, 2], ()))
        watched, receipts = sample(denoiser, self._request(denoiser, [0, 1, 2], (hook,)))
        assert torch.equal(plain["tokens"].values, watched["tokens"].values)
        assert receipts["attention-received"].counts["read"] == 3 * 8 * 2, "once a row, step and branch"


def test_received_attention_is_1_in_the_mean_over_a_rows_own_tokens() -> None:
    denoiser, hook = GuidedTransformer(), AttentionReceived(block=1)
    engine = Engine(denoiser)
    rows = engine.add(Request(denoiser.layout([0, 1, 2]), denoiser.conditions([{}] * 3), Sampling(steps=2, hooks=(hook,))))
    engine.step()
    for row in rows:
        received = engine.store.item("received", Site("attend", 1), (row, "asked"))
        assert received is not None
        assert received.shape == (4 + row, 1)
        assert abs(float(received.mean()) - 1) < 1e-5
        assert float(received.std()) > 1e-3


@pytest.mark.parametrize("part", ["trunk", "block", "attention", "attend", "mlp"])
def test_a_tap_keeps_what_is_at_any_site_and_changes_nothing(part: str) -> None:
    denoiser, hook = GuidedTransformer(), Tap(part=part)
    engine = Engine(denoiser)
    rows = engine.add(Request(denoiser.layout([0, 1, 2]), denoiser.conditions([{}] * 3), Sampling(steps=2, hooks=(hook,))))
    engine.step()
    for row in rows:
        kept = engine.store.item("tap", hook.site, (row, "asked"))
        assert kept is not None
        assert kept.shape == (4 + row, denoiser.backbone.width)
        assert float(kept.std()) > 1e-3
    plain, _ = sample(denoiser, Request(denoiser.layout([0, 1, 2]), denoiser.conditions([{}] * 3), Sampling(steps=2)))
    tapped, receipts = sample(
        denoiser, Request(denoiser.layout([0, 1, 2]), denoiser.conditions([{}] * 3), Sampling(steps=2, hooks=(hook,)))
    )
    assert torch.equal(plain["tokens"].values, tapped["tokens"].values)
    assert receipts["tap"].counts["read"] == 3 * 2, "once a row and step"


def test_a_tap_where_no_site_is_is_refused_by_name() -> None:
    denoiser = GuidedTransformer()
    for hook, says in (
        (Tap(part="head"), r"hook 'tap' needs the sites \['head'\]"),
        (Tap(part="mlp", block=9), "hook 'tap' names block 9"),
    ):
        with pytest.raises(ValueError, match=says):
            Engine(denoiser).add(Request(denoiser.layout([0]), denoiser.conditions([{}]), Sampling(steps=2, hooks=(hook,))))
