"""Several modalities in one denoiser: contracts, absent and given streams, and what the metrics say."""

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from toys import Toy, Waves, toy_recipe

from anylatent import Run, execute
from anylatent.conditioners.base import Conditions
from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Request, sample
from anylatent.files import read_json
from anylatent.generation import RowGenerator
from anylatent.joint import sheets
from anylatent.joint.data import ConditionData, JointData
from anylatent.joint.editing import GivenParts
from anylatent.joint.metrics import AsAsked, Conditional, EventsTogether, PartMetric
from anylatent.joint.modality import Joint, Label
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.denoiser_knows import Probe
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.istd import ISTD
from anylatent.metrics.tokens import TokenFeatures
from anylatent.modality import Modality
from anylatent.objective import Objective
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.recipe import load
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.heun import Heun
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing import (
    DatasetCase,
    DatasetContract,
    EditorCase,
    EditorContract,
    MetricCase,
    MetricContract,
    ModalityCase,
    ModalityContract,
    TokenizerCase,
    TokenizerContract,
)
from anylatent.testing.backbones import shaken
from anylatent.testing.metrics import Listed
from anylatent.tokenizers.grid import GridConfig
from anylatent.training.events import Event

FAST, SLOW = (AxisSpec(name="t", unit="s", step=step) for step in (0.1, 0.25))
DEEP = AxisSpec(name="z", unit="m")


class Ringing(Toy, kind="ring"):
    """Waves in which a value above 1 is an event."""

    def events(self, sample: torch.Tensor) -> list[float]:
        return [0.1 * index for index in (sample[:, 0] > 1).nonzero()[:, 0].tolist()]


class Echo(DatasetConfig, kind="ring.echo"):
    """The leading wave, as it is or `late`."""

    late: int = 0

    def build(self, split: Split) -> Dataset:
        return Waves().build(split)

    def beside(self, leading: Dataset, split: Split) -> Dataset:
        return Listed([Record(leading[i].sample.roll(self.late, 0), {}, str(i)) for i in range(len(leading))])


DATA = JointData(parts={"wave": Toy(data=Waves()), "label": Label(data=ConditionData(name="label"))})
MODALITY = Joint(data=DATA)
AXES = MODALITY.sample_axes()
CONFIG = JointConfig(parts={"wave": GridConfig(patch=(2,)), "label": LabelConfig()})
SAMPLES = [DATA.build("train")[i].sample for i in range(6)]


class TestData(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        return DatasetCase(DATA, MODALITY, looked_at=10)


class TestJointModality(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(MODALITY, SAMPLES[:4])


class TestLabelModality(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Label(data=ConditionData(name="label")), [3, "a red one", 0])


class TestLabelTokenizer(TokenizerContract):
    @pytest.fixture(scope="class", params=[[0, 1, 2, 3, 9], ["a", "b", "c", "d"]], ids=["numbers", "names"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> TokenizerCase:
        why = "codes have mean 0 and variance 1 over all classes that there could be, not over these"
        return TokenizerCase(LabelConfig(), request.param, bad=[1.5, None, True, [1]], unnormalised=why)


class TestJointTokenizer(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        bad = [3, {"wave": SAMPLES[0]["wave"], "sound": 1}, {"wave": torch.zeros(3), "label": 1}]
        why = "the label's codes have another mean over few classes"
        return TokenizerCase(CONFIG, SAMPLES, AXES, bad=bad, unnormalised=why)


@pytest.fixture(scope="module")
def tokenizer():
    built = CONFIG.build(SAMPLES[0], AXES)
    built.fit(SAMPLES)
    return built


class TestGivenParts(EditorContract):
    @pytest.fixture(scope="class", params=["wave", "label"])
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> EditorCase:
        built = CONFIG.build(SAMPLES[0], AXES)
        built.fit(SAMPLES)
        refused = [
            (GivenParts(given=("wave", "label")), r"nothing is left to make: given \['wave', 'label'\]"),
            (GivenParts(given=("sound",)), r"there is no part or stream 'sound': the tokens have \['wave', 'label'\]"),
            (GivenParts(given=("wave",), absent=("label",)), r"nothing is left to make: given \['wave'\], absent \['label'\]"),
        ]
        return EditorCase(GivenParts(given=(request.param,)), built, SAMPLES[:3], refused=refused)


def test_parts_that_are_not_there() -> None:
    """Left out of a given sample, or of what was made: None, and never a made-up one."""
    built = CONFIG.build(SAMPLES[0], AXES)
    built.fit(SAMPLES)
    half = [{"wave": SAMPLES[0]["wave"]}, {"wave": SAMPLES[1]["wave"], "label": None}]
    state = GivenParts(given=("wave",)).start(built, half, torch.arange(4))
    assert state["wave"].keep.all()
    assert not state["label"].keep.any()
    with pytest.raises(ValueError, match=r"given sample 0 lacks the parts \['label'\]"):
        GivenParts(given=("label",)).start(built, half, torch.arange(4))
    alone = GivenParts(absent=("label",)).start(built, [], torch.arange(3))
    assert [made["label"] for made in built.decode(alone)] == [None] * 3
    with pytest.raises(ValidationError, match="cannot be given and absent"):
        GivenParts(given=("wave",), absent=("wave",))
    with pytest.raises(ValidationError, match="say which parts"):
        GivenParts()


def test_given_parts_come_back_as_they_were_given() -> None:
    """In turns, whatever the tokenizer made of them; parts that were made stay, and so do samples of one part."""
    made = [{"wave": torch.full((8, 1), float(row)), "label": row} for row in range(5)]
    finished = GivenParts(given=("label",)).finish(made, [{"label": 7}, {"label": "b", "wave": None}])
    assert [sample["label"] for sample in finished] == [7, "b", 7, "b", 7]
    assert all(after["wave"] is before["wave"] for after, before in zip(finished, made, strict=True))
    assert GivenParts(absent=("label",)).finish(made, []) == made
    streams = [torch.zeros(2), torch.ones(2)]
    assert GivenParts(given=("tokens",)).finish(streams, [torch.ones(2)]) == streams


def test_labels_that_are_too_many_or_unknown() -> None:
    with pytest.raises(ValueError, match="40 classes do not fit in codes of 4 signs: give the tokenizer 'label' a larger width"):
        LabelConfig(width=4).build(0).fit(list(range(40)))
    built = LabelConfig().build(0)
    with pytest.raises(ValueError, match="not fitted"):
        built.decode(built.encode([0]))
    built.fit([0, 1, 2])
    with pytest.raises(ValueError, match="sample 1: no training sample has the label 7"):
        built.encode([0, 7])
    codes = built.encode([0, 1, 2])["label"].values[:, 0]
    noisy = built.encode([0, 1, 2]).with_values({"label": (codes + 0.9 * codes.roll(1, 1))[:, None]})
    assert built.decode(noisy) == [0, 1, 2]


def test_data_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"'toy.waves' cannot follow another one"):
        JointData(parts={"a": Toy(data=Waves()), "b": Toy(data=Waves())}).build("train")
    with pytest.raises(ValueError, match=r"record 0 has no condition 'colour': it has \['label', 'pitch', 'word'\]"):
        JointData(parts={"a": Toy(data=Waves()), "b": Label(data=ConditionData(name="colour"))}).build("train")
    with pytest.raises(ValueError, match="use it as a later part"):
        ConditionData(name="label").build("train")
    with pytest.raises(ValidationError, match="a word of letters, digits and '_', given 'a-b'"):
        JointData(parts={"a-b": Toy(data=Waves()), "b": Toy(data=Waves())})
    with pytest.raises(ValueError, match=r"has the parts \['label', 'wave'\], the samples have \['wave'\]"):
        CONFIG.build({"wave": SAMPLES[0]["wave"]}, AXES)


@pytest.mark.parametrize(
    "content",
    ['{"wave": 3}', '{"parts": {"tune": "x"}}', "[]", '{"parts": ["wave"]}', '{"parts": {"wave": 3}}', '{"parts": {"wave": ["x"]}}'],
)
def test_a_list_that_names_no_parts_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "joint.json").write_text(content)
    with pytest.raises(ValueError, match=r"joint.json (is no joint sample|names the parts \['tune'\])"):
        MODALITY.read(tmp_path / "joint.json")


# --- sheets -----------------------------------------------------------------------------------------------------------


class Noting(Toy, kind="noting"):
    """Waves whose sheets are one dark cell a sample, 4 numbers wide."""

    told: ClassVar[list[tuple[int, tuple[str, ...]]]] = []

    def sheet(self, samples: Sequence[torch.Tensor], captions: Sequence[str] = ()) -> bytes:
        self.told.append((len(samples), tuple(captions)))
        return _picture(10 * len(samples), 20)


def _picture(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 0).save(stream, "PNG")
    return stream.getvalue()


def _pixels(sheet: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(sheet)).convert("L")))


def test_a_sheet_says_what_belongs_together() -> None:
    """Labels are captions; where samples are in two sheets, both have their numbers; parts that were not made are not there."""
    waves = {"a": Noting(data=Waves()), "b": Noting(data=Waves())}
    labels = {"word": Label(data=ConditionData(name="word")), "label": Label(data=ConditionData(name="label"))}
    wave = torch.zeros(8, 1)

    def captions(parts: dict, samples: list, *given: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        Noting.told.clear()
        Joint(data=JointData(parts=parts)).sheet(samples, *given)
        return list(Noting.told)

    both = [{"a": wave, "b": wave}, {"a": None, "b": wave}]
    assert captions(waves, both) == [(1, ("0000",)), (2, ("0000", "0001"))]
    assert captions(waves, both, ["x", ""]) == [(1, ("0000, x",)), (2, ("0000, x", "0001"))]
    assert captions(waves, [{"a": wave, "b": None}] * 2) == [(2, ())], "one sheet needs no numbers"
    named = [{"a": wave, "word": "red", "label": 3}, {"a": wave, "word": None, "label": 4}]
    for parts in ({"a": waves["a"]} | labels, labels | {"a": waves["a"]}):
        order = [name for name in parts if name != "a"]
        first = ", ".join(str(named[0][name]) for name in order)
        assert captions(parts, named) == [(2, (first, "4"))]
        assert captions(parts, named, ["x", "y"]) == [(2, (f"x, {first}", "y, 4"))]
    assert captions(waves | {"label": labels["label"]}, [both[0] | {"label": 5}]) == [(1, ("0000, 5",))] * 2


def test_sheets_are_stacked_cell_for_cell() -> None:
    stacked = _pixels(sheets.stacked([_picture(10, 20), _picture(30, 5)]))
    assert stacked.shape == (10 + sheets.MARGIN + 30, 20)
    dark = torch.zeros(stacked.shape, dtype=torch.bool)
    dark[:10] = True
    dark[-30:, :5] = True
    assert torch.equal(stacked == 0, dark)
    assert (stacked[~dark] == 255).all()


@pytest.mark.parametrize(("count", "captioned", "rows"), [(1, False, 1), (10, False, 1), (11, False, 2), (100, False, 10), (11, True, 11)])
def test_a_sheet_of_labels_is_as_large_as_they_are(count: int, captioned: bool, rows: int) -> None:
    """In rows of ten, or beside their captions, with no empty paper around; one that was not made is a dash."""
    label = Label(data=ConditionData(name="label"))
    sheet = _pixels(label.sheet([*range(count - 1), None], [f"caption {i}" for i in range(count)] if captioned else ()))
    inked = (sheet < 128).any(1)
    top, bottom = inked.nonzero()[[0, -1], 0].tolist()
    assert top < 20
    assert len(sheet) - bottom < 20
    starts = (inked[1:] & ~inked[:-1]).sum() + inked[0]
    assert starts == rows, "lines of writing"


# --- absent and given streams in the engine ---------------------------------------------------------------------------


def _denoiser(*specs: StreamSpec, path: Any = None, prediction: Any = "velocity") -> Denoiser:
    torch.manual_seed(0)
    path = path or Rectified()
    denoiser = Denoiser(
        DiTConfig(depth=2, width=32, heads=2).build(specs, False), Conditions(32, {}), {s.name: Corruption(path, prediction) for s in specs}
    )
    shaken(denoiser, size=0.1)
    return denoiser.eval().requires_grad_(False)


def _state(rows: int) -> State:
    generator = torch.Generator().manual_seed(1)
    return State.of(
        {"a": Stream.of(torch.randn(rows, 3, 4, generator=generator)), "b": Stream.of(torch.randn(rows, 2, 5, generator=generator))}
    )


A, B = StreamSpec(name="a", width=4), StreamSpec(name="b", width=5)


@pytest.mark.parametrize(
    ("path", "prediction", "solver"),
    [(Rectified(), "velocity", Heun()), (Cosine(), "noise", DDIM()), (EDM(), "preconditioned", DPMpp2M())],
    ids=["rectified", "cosine", "edm"],
)
def test_an_absent_stream_is_the_prior_at_time_one_throughout(path, prediction, solver) -> None:
    """What a hand-written loop over the one stream makes, asking the same denoiser with the other's prior at time 1."""
    denoiser, state = _denoiser(A, B, path=path, prediction=prediction), _state(3)
    state = state.with_time({"b": torch.ones(3, 2)})
    sampling = Sampling(steps=6, solver=solver)
    seen = []

    def watch(module, args, out):
        seen.append(args[0]["b"])

    handle = denoiser.register_forward_hook(watch)
    made, _ = sample(denoiser, Request(state, denoiser.conditions.null(3), sampling))
    handle.remove()
    prior = path.prior(B, state.noise("b", -1, 0), state["b"].mask)
    expected = path.corrupt(torch.zeros_like(prior), prior, torch.ones(3, 2, 1))
    assert len(seen) >= 6
    for stream in seen:
        assert (stream.time == 1).all()
        torch.testing.assert_close(stream.values, expected)
    assert (made["b"].time == 1).all(), "the state says that it was not made"
    torch.testing.assert_close(made["b"].values, state["b"].values)
    other = state.with_values({"b": torch.full_like(state["b"].values, 9.0)})
    again, _ = sample(denoiser, Request(other, denoiser.conditions.null(3), sampling))
    assert torch.equal(again["a"].values, made["a"].values), "what an absent stream holds does not matter"
    whole, _ = sample(denoiser, Request(_state(3), denoiser.conditions.null(3), sampling))
    assert not torch.allclose(whole["a"].values, made["a"].values)


@pytest.mark.parametrize("noised", [False, True])
def test_a_stream_that_is_always_given_is_seen_clean(noised: bool) -> None:
    """In sampling, kept or not in the request, completing or not; and in training, where it costs nothing."""
    given = B.model_copy(update={"given": True})
    denoiser, state = _denoiser(A, given), _state(3)
    seen = []
    handle = denoiser.register_forward_hook(lambda module, args, out: seen.append(args[0]["b"]))
    made, _ = sample(denoiser, Request(state, denoiser.conditions.null(3), Sampling(steps=4), noised=noised))
    handle.remove()
    assert all((stream.time == 0).all() and torch.equal(stream.values, state["b"].values) for stream in seen)
    assert torch.equal(made["b"].values, state["b"].values)
    noisy, targets = Objective(given=0.5).corrupt(state, denoiser, 0)
    assert torch.equal(noisy["b"].values, state["b"].values)
    assert noisy["b"].keep.all()
    assert not (noisy["a"].time == 0).any(), "the only stream to make is never given"
    loss = Objective().loss(denoiser, state, denoiser.conditions.null(3), 0)
    raw = denoiser.predict(noisy, denoiser.conditions.null(3))["a"]
    torch.testing.assert_close(loss, (raw - targets["a"]).square().mean((1, 2)))


def test_roles_are_drawn_in_their_shares() -> None:
    """Of two streams at most one is given or absent; a row's role does not depend on its batch; the loss counts what is made."""
    denoiser, state = _denoiser(A, B), _state(4000)
    objective = Objective(together=False, given=0.4, absent=0.2)
    noisy, _ = objective.corrupt(state, denoiser, 5)
    given = torch.stack([noisy[name].keep.all(1) for name in "ab"])
    absent = torch.stack([(noisy[name].time == 1).all(1) for name in "ab"])
    assert ((given | absent).sum(0) <= 1).all()
    for share, wanted in ((given, 0.4), (absent, 0.2)):
        assert share.sum(1).min() > 0.4 * wanted * 4000, "either stream"
        assert abs(share.any(0).float().mean() - wanted) < 0.03
    for name in "ab":
        held = given["ab".index(name)]
        assert torch.equal(noisy[name].values[held], state[name].values[held])
    alone, _ = objective.corrupt(state.select([7]), denoiser, 5)
    assert all(torch.equal(alone[name].time[0], noisy[name].time[7]) for name in "ab")
    with pytest.raises(ValidationError, match="more than all"):
        Objective(given=0.6, absent=0.6)


# --- metrics ----------------------------------------------------------------------------------------------------------


def _ringing(late: int = 0) -> tuple[Joint, Listed, Listed]:
    data = JointData(parts={"strike": Ringing(data=Waves()), "sound": Ringing(data=Echo(late=late))})
    train, test = (data.build(split) for split in ("train", "test"))
    return Joint(data=data), Listed([train[i] for i in range(len(train))]), Listed([test[i] for i in range(len(test))])


def _evidence(samples: Sequence[Any] | None = None, late: int = 0, asked: Sequence[dict] = ()) -> Evidence:
    modality, train, test = _ringing(late)
    made = [record.sample for record in train.records][:30] if samples is None else samples
    return Evidence(modality, made, list(asked) or [{} for _ in made], train, test)


class Spy(Metric, kind="test-spy"):
    """Keeps the evidence that it was given."""

    seen: ClassVar[list[Evidence]] = []
    min_n: ClassVar[int] = 4

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.seen.append(evidence)
        return [Measure("seen", 1.0, 1.0, 1.0, len(evidence.samples), "neither")]


@pytest.fixture
def spied() -> list[Evidence]:
    Spy.seen.clear()
    return Spy.seen


def test_a_part_is_judged_with_its_own_tokenizer_and_without_the_joint_denoiser(tokenizer, spied: list[Evidence]) -> None:
    data = Listed([Record(sample, {"label": sample["label"]}, str(index)) for index, sample in enumerate(SAMPLES)])
    made = [*SAMPLES[:4], {"wave": None, "label": 1}, SAMPLES[5]]
    asked = [{"label": 9, "word": "a"}] * 6
    evidence = Evidence(MODALITY, made, asked, data, data, tokenizer, seed=5, model=lambda state, conditions, begin=1.0: state)
    (measure,) = PartMetric(part="wave", metric=Spy(), asked={"label": "label"}).compute(evidence)
    (own,) = spied
    assert (measure.name, measure.n) == ("wave: seen", 5)
    assert own.modality == MODALITY.parts["wave"]
    assert own.tokenizer is tokenizer.parts["wave"]
    assert own.model is None, "it makes rows of every part's streams"
    assert [sample is SAMPLES[index]["wave"] for sample, index in zip(own.samples, (0, 1, 2, 3, 5), strict=True)] == [True] * 5
    assert list(own.asked) == [{"label": SAMPLES[index]["label"], "word": "a"} for index in (0, 1, 2, 3, 5)]
    assert torch.equal(own.train[2].sample, SAMPLES[2]["wave"])
    torch.testing.assert_close(own.tokenizer.decode(own.tokenizer.encode(own.samples))[4], SAMPLES[5]["wave"])
    assert own.seed == 5
    PartMetric(part="wave", metric=Spy()).compute(replace(evidence, tokenizer=None))
    assert spied[1].tokenizer is None


def test_as_many_samples_as_the_inner_metric_needs(spied: list[Evidence]) -> None:
    """Said of the recipe, before anything is trained."""
    assert PartMetric(part="wave", metric=Spy()).min_n == 4
    with pytest.raises(ValidationError, match="metric 'part' needs at least 4 samples: `count` is 3"):
        Conditional(given=("wave",), count=3, metric=PartMetric(part="wave", metric=Spy()))
    with pytest.raises(ValidationError, match=r"\['wave'\] cannot be given and absent"):
        Conditional(given=("wave",), absent=("wave",), metric=Spy())
    with pytest.raises(ValidationError, match="say which parts are `given`, which `absent`"):
        Conditional(metric=Spy())
    with pytest.raises(ValueError, match="part: none of the 2 samples has the part 'sound': it was not made"):
        PartMetric(part="sound", metric=Spy()).compute(_evidence([{"strike": torch.zeros(8, 1), "sound": None}] * 2))
    assert not spied


class Asking(Spy, kind="test-asking"):
    """Judges the denoiser, as a policy's success does."""

    asks_denoiser: ClassVar[bool] = True


@pytest.mark.parametrize("inner", [ISTD(), Probe(condition="label"), Asking(), Conditional(given=("wave",), metric=Distinct())])
def test_what_asks_the_denoiser_is_refused_where_it_would_be_handed_samples(inner: Metric) -> None:
    """When the recipe is read: a part has no denoiser of its own, and what is made for `conditional` would go unseen."""
    for kind, outer in (("part", {"part": "wave"}), ("conditional", {"given": ["wave"]})):
        node = {"kind": kind, **outer, "metric": inner}
        said = f"metric '{kind}' hands on samples to be judged, and '{inner.kind}' asks the denoiser: name it outside of '{kind}'"
        with pytest.raises(ValidationError, match=said):
            {"part": PartMetric, "conditional": Conditional}[kind].model_validate(node)


def test_parts_that_are_not_there_are_refused_before_training(tokenizer) -> None:
    """Those of metrics inside too; and a metric inside is asked about its own part."""

    class Choosy(Distinct, kind="test-choosy"):
        def refusals(self, modality, tokenizer):
            yield f"not {modality.kind} as {tokenizer.config.kind}"

    def refused(metric: Metric, modality: Modality = MODALITY) -> list[str]:
        return list(metric.refusals(modality, tokenizer))

    assert refused(PartMetric(part="wave", metric=Distinct(), asked={"label": "label"})) == []
    assert refused(PartMetric(part="wave", metric=Choosy())) == ["not toy as grid"]
    there = "the samples have ['wave', 'label']"
    assert refused(PartMetric(part="tune", metric=Choosy(), asked={"label": "lable"})) == [
        f"part: there is no part 'tune': {there}",
        f"part: there is no part 'lable': {there}",
    ]
    assert refused(AsAsked(part="lable")) == [f"as-asked: there is no part 'lable': {there}"]
    assert refused(EventsTogether(first="wave", second="b")) == [f"events-together: there is no part 'b': {there}"]
    assert refused(AsAsked(part="label"), Toy(data=Waves())) == ["as-asked judges joint samples; these are of the modality 'toy'"]
    assert refused(Conditional(given=("wave",), metric=AsAsked(part="label"))) == []
    assert refused(Conditional(given=("wav",), metric=AsAsked(part="lable"))) == [
        "conditional: there is no part or stream 'wav': the tokens have ['wave', 'label']",
        f"as-asked: there is no part 'lable': {there}",
    ]
    nothing = Conditional(given=("wave",), absent=("label",), metric=Distinct())
    assert refused(nothing) == ["conditional: nothing is left to make: given ['wave'], absent ['label']"]


def _with_denoiser(samples: int = 20) -> Evidence:
    """Pairs of waves and words, and an untrained denoiser of them."""
    data = JointData(parts={"wave": Toy(data=Waves()), "word": Label(data=ConditionData(name="word"))})
    train, test = ([data.build(split)[i] for i in range(16)] for split in ("train", "test"))
    made = [record.sample for record in train]
    built = JointConfig(parts={"wave": GridConfig(patch=(2,)), "word": LabelConfig()}).build(made[0], Joint(data=data).sample_axes())
    built.fit(made)
    model = RowGenerator(_denoiser(*built.specs), Sampling(steps=3, batch=8), noised=False)
    asked = [dict(record.conditions) for record in train]
    return Evidence(Joint(data=data), made, asked, Listed(train), Listed(test), built, model=model)


class TestConditional(MetricContract):
    @pytest.fixture(
        scope="class",
        params=[
            Conditional(given=("wave",), count=12, metric=AsAsked(part="word")),
            Conditional(given=("word",), count=12, metric=PartMetric(part="wave", metric=Distinct())),
            Conditional(absent=("word",), count=12, metric=PartMetric(part="wave", metric=Distinct())),
        ],
        ids=["words", "waves", "waves alone"],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MetricCase:
        return MetricCase(request.param, _with_denoiser())

    def test_too_few_samples_are_refused(self, case: MetricCase) -> None:
        """It makes its own: how many, and for which metric, is known when the recipe is read."""
        with pytest.raises(ValidationError, match="needs at least 10 samples: `count` is 9"):
            Conditional(given=("wave",), count=9, metric=EventsTogether(first="wave", second="word"))

    def test_it_judges_what_the_denoiser_makes_of_held_out_parts(self, case: MetricCase, spied: list[Evidence]) -> None:
        metric = Conditional(**(dict(case.metric) | {"metric": Spy()}))
        (measure,) = metric.compute(case.evidence)
        told = "given wave" if metric.given == ("wave",) else "given word" if metric.given else "without word"
        assert (measure.name, measure.n) == (f"{told}: seen", 12)
        (own,) = spied
        held_out = [case.evidence.test[index] for index in range(12)]
        for part in metric.given:
            assert all(sample[part] is record.sample[part] for sample, record in zip(own.samples, held_out, strict=True))
        for part in metric.absent:
            assert all(sample[part] is None for sample in own.samples)
        assert own.asked == [dict(record.conditions) if metric.given else {} for record in held_out]
        (anew,) = {"wave", "word"} - set(metric.given) - set(metric.absent)
        others = [sample[anew] for sample in own.samples]
        assert all(other is not None for other in others)
        assert not all(torch.equal(x.sample[anew], y) for x, y in zip(held_out, others)) if anew == "wave" else len(set(others)) > 1


class TestJointMetrics(MetricContract):
    @pytest.fixture(
        scope="class",
        params=[
            EventsTogether(first="strike", second="sound", within=0.05),
            PartMetric(part="sound", metric=Distinct()),
            AsAsked(part="word", condition="word"),
        ],
        ids=lambda metric: metric.kind,
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> MetricCase:
        if isinstance(request.param, AsAsked):
            data = JointData(parts={"wave": Toy(data=Waves()), "word": Label(data=ConditionData(name="word"))})
            records = [data.build("train")[i] for i in range(40)]
            made, asked = [r.sample for r in records][:20], [dict(r.conditions) for r in records][1:21]
            return MetricCase(request.param, Evidence(Joint(data=data), made, asked, Listed(records), Listed(records)))
        return MetricCase(request.param, _evidence())


def test_events_together_tells_bound_from_shuffled() -> None:
    metric = EventsTogether(first="strike", second="sound", within=0.05)
    bound = {measure.name: measure for measure in metric.compute(_evidence())}
    assert bound["strike-sound offset, s"].value == 0 == bound["strike-sound offset, s"].floor
    assert bound["within 0.05 s"].value == 1
    assert bound["within 0.05 s of different samples (control)"].value < 0.7
    late = {measure.name: measure for measure in metric.compute(_evidence(late=1))}
    assert late["within 0.05 s"].value < 1
    silent = [{"strike": torch.full((8, 1), 2.0), "sound": torch.zeros(8, 1)}] * 12
    assert metric.compute(_evidence(silent))[0].value == metric.alone


def test_joint_metrics_refuse_what_they_cannot_judge() -> None:
    evidence = _evidence()
    with pytest.raises(ValueError, match=r"there is no part 'tune': the samples have \['strike', 'sound'\]"):
        PartMetric(part="tune", metric=Distinct()).compute(evidence)
    with pytest.raises(ValueError, match=r"events-together compares 'strike' and 'sound': 1 samples lack one"):
        EventsTogether(first="strike", second="sound").compute(_evidence([*evidence.samples, {"strike": None, "sound": None}]))
    with pytest.raises(ValueError, match="no sample was asked for 'sound'"):
        AsAsked(part="sound").compute(evidence)
    with pytest.raises(ValueError, match="judges joint samples; these are of the modality 'toy'"):
        AsAsked(part="sound").compute(Evidence(Toy(data=Waves()), [], [], evidence.train, evidence.test))
    with pytest.raises(ValueError, match="it needs the run's denoiser and tokenizer"):
        Conditional(given=("strike",), metric=Distinct()).compute(evidence)
    toy = Toy(data=Waves())
    with pytest.raises(ValueError, match="the modality 'toy' does not know when something happens"):
        toy.events(toy.data.build("train")[0].sample)


# --- a whole run ------------------------------------------------------------------------------------------------------


def test_one_run_gives_joint_marginal_and_conditionals(tmp_path: Path) -> None:
    """From a recipe, with a part whose tokenizer is trained; saved, opened, and asked for every combination."""
    from anylatent.components import core_components
    from anylatent.plugins import Plugins

    plugins = Plugins.discover()
    recipe = toy_recipe(
        modality={
            "kind": "joint",
            "data": {
                "kind": "joint",
                "parts": {"wave": Toy(data=Waves()), "label": {"kind": "label", "data": {"kind": "condition", "name": "label"}}},
            },
        },
        tokenizer={
            "kind": "joint",
            "parts": {
                "wave": {"kind": "autoencoder", "inner": {"kind": "grid", "patch": [2]}, "width": 16, "heads": 2, "depth": 1},
                "label": {"kind": "label"},
            },
            "train": {"steps": 4, "batch": 8, "ema": [], "checkpoint": 4},
        },
        conditions={},
        objective={"together": False, "given": 0.3, "absent": 0.2},
        evaluate=[{"kind": "conditional", "given": ["wave"], "count": 8, "metric": {"kind": "as-asked", "part": "label"}}],
    )
    assert core_components()
    made = Run.create(load(copy.deepcopy(recipe), plugins=plugins), tmp_path / "run")
    list(execute(made))
    run = Run(tmp_path / "run", made.recipe)
    joint = run.sample(4)
    assert all(set(each) == {"wave", "label"} and each["label"] in range(4) for each in joint.samples)
    given = [record.sample for record in (run.test_set[i] for i in range(3))]
    kept = run.edit(GivenParts(given=("label",)), given, 6)
    assert [each["label"] for each in kept.samples] == [each["label"] for each in given] * 2
    marginal = run.edit(GivenParts(absent=("label",)), [], 3)
    assert [each["label"] for each in marginal.samples] == [None] * 3
    files = run.save_samples(marginal, tmp_path / "marginal")
    assert {"sheet.png", "samples.json", "0000"} <= {file.name for file in files}
    judged = read_json(run.folder / "evaluation.json")[0]
    assert (judged["name"], judged["n"]) == ("given wave: label as asked", 8)
    heard: list[Event] = []
    (again,) = run.evaluate(watch=heard.append)
    assert again.written() == judged
    assert not heard, "`conditional` makes its own samples: none are made for it"


# --- features of any modality's tokens --------------------------------------------------------------------------------


def test_token_features_are_of_any_size_and_refused_samples_stand_at_zero() -> None:
    waves = [Waves(count=70, ragged=True).build("train")[i].sample for i in range(70)]
    config = GridConfig(patch=(2,))
    built = config.build(waves[0], Toy.axes)
    built.fit(waves)
    evidence = Evidence(Toy(data=Waves()), [], [], Listed(waves), Listed(waves), built)
    vectors = TokenFeatures().compute(waves, evidence)
    tokens = built.encode([waves[3]])["tokens"].values[0]
    torch.testing.assert_close(vectors[3], torch.cat((tokens.mean(0), tokens.std(0, unbiased=False))), atol=1e-5, rtol=1e-4)
    mixed = TokenFeatures().compute([waves[3], torch.full((8, 1), float("nan")), waves[5]], evidence)
    torch.testing.assert_close(mixed, torch.stack((vectors[3], torch.zeros(4), vectors[5])))
    assert TokenFeatures().fingerprint(evidence) == built.fingerprint()
    with pytest.raises(ValueError, match="features 'tokens' need the run's tokenizer"):
        TokenFeatures().compute(waves, _evidence())


def test_parts_that_share_an_axis_are_made_equally_long() -> None:
    """In its unit, whatever a step is to each; other axes and parts are as training saw them."""
    config = JointConfig(parts={"fast": GridConfig(patch=(2,)), "slow": GridConfig(patch=(1, 2)), "label": LabelConfig()})
    example = {"fast": torch.rand(6, 1), "slow": torch.rand(2, 4, 3), "label": 1}
    tokenizer = config.build(example, {"fast": (FAST,), "slow": (SLOW, DEEP)})
    tokenizer.fit([example])
    assert tokenizer.size_axes == (FAST,)
    states = {size: tokenizer.layout(torch.arange(2), size=size) for size in (None, 10, 12)}
    counts = {size: [int(stream.mask[0].sum()) for stream in state.streams.values()] for size, state in states.items()}
    assert counts == {None: [3, 2 * 2, 1], 10: [5, 4 * 2, 1], 12: [6, 5 * 2, 1]}, "1 s is 4 slow cells, 1.2 s are 5"
    backwards = JointConfig(parts={"slow": GridConfig(patch=(1, 2)), "fast": GridConfig(patch=(2,))})
    other = backwards.build({part: example[part] for part in ("slow", "fast")}, {"fast": (FAST,), "slow": (SLOW, DEEP)})
    with pytest.raises(ValueError, match=r"part 'fast': size 3: expected a number of axis 't', a multiple of 2, given 3"):
        other.layout(torch.arange(2), size=(1, 8))
