"""Every kind of guidance, held to the contract."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from anylatent.guidance.autoguidance import Autoguidance
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.per_condition import ConditionScale, PerCondition
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.plus_plus import PlusPlus
from anylatent.guidance.reflection import Reflection
from anylatent.guidance.regions import Region, Regions, Span
from anylatent.guidance.rules.projected import Projected
from anylatent.guidance.rules.rescaled import Rescaled
from anylatent.guidance.rules.tangential import Tangential
from anylatent.guidance.rules.zero_star import ZeroStar
from anylatent.guidance.self_attention import SelfAttention
from anylatent.guidance.sum import Sum
from anylatent.guidance.timed import Annealing
from anylatent.guidance.windows import Window, Windows
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.hooks.skip_blocks import SkipBlocks
from anylatent.testing.guidance import GuidanceContract, GuidedTransformer


class TestRules(GuidanceContract):
    """What classifier-free guidance makes of its two predictions, and when."""

    @pytest.fixture(
        scope="class",
        params=[
            ClassifierFree(scale=3.0, annealing=Annealing(shape="cosine", floor=0.1)),
            ClassifierFree(scale=3.0, rule=Rescaled()),
            ClassifierFree(scale=3.0, rule=Projected(norm=0.3, momentum=-0.5), interval=(0.2, 0.9)),
            ClassifierFree(scale=3.0, rule=Tangential()),
            ClassifierFree(scale=3.0, rule=ZeroStar(still=1)),
            ClassifierFree(scale=3.0, against={"component": 1}),
        ],
        ids=["annealed", "rescaled", "projected", "tangential", "zero-star", "against"],
    )
    @classmethod
    def guidance(cls, request: pytest.FixtureRequest) -> Guidance:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls, guidance: ClassifierFree) -> Guidance:
        return guidance.model_copy(update={"scale": 1.0})


class TestAutoguidance(GuidanceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Any:
        return GuidedTransformer()

    @pytest.fixture(scope="class")
    @classmethod
    def others(cls) -> Mapping[str, Any]:
        return {"weaker": GuidedTransformer(seed=1)}

    @pytest.fixture(scope="class", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["asked", "null"])
    @classmethod
    def guidance(cls, request: pytest.FixtureRequest) -> Guidance:
        return Autoguidance(model="weaker", null=request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        return Autoguidance(model="weaker", scale=1)


ALONE = Compose(entries=(Entry(model="weaker"),))
"""Another denoiser, in place of this one."""


class TestReflection(GuidanceContract):
    """Down by one prediction, up by another: of the same denoiser under other guidance, and of another denoiser."""

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Any:
        return GuidedTransformer()

    @pytest.fixture(scope="class")
    @classmethod
    def others(cls) -> Mapping[str, Any]:
        return {"weaker": GuidedTransformer(seed=1)}

    @pytest.fixture(
        scope="class",
        params=[
            Reflection(inner=ClassifierFree(scale=3.0), weak=ClassifierFree(scale=0.5, against={"component": 1}), repeats=2),
            Reflection(weak=ALONE, share=1.0),
            Reflection(inner=Perturbed(rule=Projected(momentum=-0.5)), weak=Sum(terms=(ClassifierFree(rule=Projected(momentum=0.3)),))),
            Sum(terms=(Reflection(inner=SelfAttention(block=1)), ClassifierFree())),
            Windows(windows=(Window(axis="i", size=5.0, overlap=2.0),), inner=Reflection(weak=ALONE)),
        ],
        ids=["zigzag", "weak-to-strong", "remembering", "in-rounds", "windows"],
    )
    @classmethod
    def guidance(cls, request: pytest.FixtureRequest) -> Guidance:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        return Reflection(weak=ALONE, repeats=0)


class TestPerturbations(GuidanceContract):
    """Guidances that disturb the denoiser, or look into it."""

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Any:
        return GuidedTransformer()

    @pytest.fixture(
        scope="class",
        params=[
            Perturbed(),
            Perturbed(hook=PerturbAttention(how="queries", sigma=1.5, blocks=(0, 1))),
            pytest.param(Perturbed(hook=PerturbAttention(how="queries", share=0.5)), marks=pytest.mark.slow),
            pytest.param(Perturbed(hook=SkipBlocks(blocks=(1,))), marks=pytest.mark.slow),
            SelfAttention(block=1),
            Sum(terms=(ClassifierFree(), SelfAttention(threshold=0.9), Perturbed(rule=Projected()))),
        ],
        ids=["identity", "blurred", "mean", "skipped", "self-attention", "sum"],
    )
    @classmethod
    def guidance(cls, request: pytest.FixtureRequest) -> Guidance:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls, guidance: Any) -> Guidance:
        if isinstance(guidance, Sum):
            return Sum(terms=tuple(term.model_copy(update={"scale": 1.0}) for term in guidance.terms))
        return guidance.model_copy(update={"scale": 1.0})


SPAN = Span(axis="i", start=2.0)


class TestMixtures(GuidanceContract):
    """Several things asked, in one place or in several, of one denoiser or two."""

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls) -> Any:
        return GuidedTransformer()

    @pytest.fixture(scope="class")
    @classmethod
    def others(cls) -> Mapping[str, Any]:
        return {"weaker": GuidedTransformer(seed=1)}

    @pytest.fixture(
        scope="class",
        params=[
            (PerCondition(scales=(ConditionScale(condition="component", scale=2), ConditionScale(condition="part", scale=3))), "ones"),
            pytest.param(
                (PerCondition(scales=(ConditionScale(condition="component", scale=2),), rule="apart", interval=(0.3, 1)), "ones"),
                marks=pytest.mark.slow,
            ),
            (
                PerCondition(
                    scales=(ConditionScale(condition="component", scale=2), ConditionScale(condition="part", scale=0)), rule="without"
                ),
                "ones",
            ),
            (Compose(entries=(Entry(), Entry(ask={"component": 1}, weight=0.5), Entry(without=("part",), weight=-1))), "one"),
            (Compose(entries=(Entry(), Entry(model="weaker")), rule="mean", inner=ClassifierFree()), "one"),
            (Compose(entries=(Entry(ask={"component": 1}), Entry(ask={"component": 2}, weight=0.5)), rule="mixture"), "one"),
            (Compose(entries=(Entry(ask={"component": 1}), Entry(ask={"component": 2}, weight=0.5)), rule="equal"), "one"),
            (
                Regions(
                    regions=(Region(where=(SPAN,), ask={"component": 1}),),
                    inner=PerCondition(scales=(ConditionScale(condition="part", scale=2),)),
                ),
                "nowhere",
            ),
            (Windows(windows=(Window(axis="i", size=4, overlap=2),), inner=ClassifierFree(rule=Projected())), "whole"),
            (
                Windows(
                    windows=(Window(axis="i", size=5, overlap=2.5),),
                    inner=Regions(regions=(Region(where=(SPAN,), ask={"part": 1}),), background=0.5),
                    weighting="uniform",
                ),
                "whole",
            ),
        ],
        ids=["chain", "apart", "without", "product", "mean", "mixture", "equal", "regions", "windows", "windows-regions"],
    )
    @classmethod
    def both(cls, request: pytest.FixtureRequest) -> tuple[Any, str]:
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def guidance(cls, both: tuple[Any, str]) -> Guidance:
        return both[0]

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls, both: tuple[Any, str]) -> Guidance:
        guidance, how = both
        match how:
            case "ones":
                scales = tuple(each.model_copy(update={"scale": 1.0}) for each in guidance.scales)
                return guidance.model_copy(update={"scales": scales})
            case "one":
                return Compose(entries=(Entry(),), rule=guidance.rule)
            case "nowhere":
                return Regions(regions=tuple(each.model_copy(update={"weight": 0.0}) for each in guidance.regions))
        return Windows(windows=(Window(axis="i", size=100),))


class TestPlusPlus(GuidanceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def guidance(cls) -> Guidance:
        return PlusPlus()

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Guidance:
        """No amount is neutral; at times that are never asked about it does nothing."""
        return PlusPlus(interval=(0.0, 1e-6))


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: Sum(terms=(inner, ClassifierFree())),
        lambda inner: Compose(entries=(Entry(),), inner=inner),
        lambda inner: Regions(regions=(Region(where=(SPAN,), ask={"component": 1}),), inner=inner),
        lambda inner: Windows(windows=(Window(axis="i", size=5),), inner=inner),
        lambda inner: Reflection(inner=inner),
        lambda inner: Reflection(weak=inner),
    ],
    ids=["sum", "compose", "regions", "windows", "strong", "weak"],
)
@pytest.mark.parametrize(
    "inner",
    [
        Perturbed(hook=PerturbAttention()),
        WithoutStreams(absent=("label",)),
        Autoguidance(model="weaker"),
        ClassifierFree(against={"part": 1}),
    ],
    ids=lambda inner: inner.kind,
)
def test_what_one_inside_needs_is_needed(around: Callable[[Guidance], Guidance], inner: Guidance) -> None:
    outer = around(inner)
    assert list(inner.hooks()) == [hook for hook in outer.hooks() if hook in inner.hooks()]
    assert set(inner.streams()) <= set(outer.streams())
    assert set(inner.denoisers()) <= set(outer.denoisers())
    assert all(variant in outer.variants().values() for variant in inner.variants().values())
    assert outer.needs_null() >= inner.needs_null()
