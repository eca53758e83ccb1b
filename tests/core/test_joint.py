"""Several modalities in one denoiser: contracts, absent and given streams, and what the metrics say."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from toys import Toy, Waves, toy_recipe

from anylatent import Run, execute
from anylatent.conditioners.base import Conditions
from anylatent.data import Dataset, DatasetConfig, Record, Split
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Request, sample
from anylatent.joint.data import ConditionData, JointData
from anylatent.joint.editing import GivenParts
from anylatent.joint.metrics import AsAsked, Conditional, EventsTogether, PartMetric
from anylatent.joint.modality import Joint, Label
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.metrics.base import Evidence
from anylatent.metrics.distinct import Distinct
from anylatent.metrics.tokens import TokenFeatures
from anylatent.objective import Objective
from anylatent.paths import EDM, Cosine, Rectified
from anylatent.recipe import load
from anylatent.sampling import Sampling
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.heun import Heun
from anylatent.spec import StreamSpec
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
        refused = [GivenParts(given=("wave", "label")), GivenParts(given=("sound",)), GivenParts(given=("wave",), absent=("label",))]
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


@pytest.mark.parametrize("content", ['{"wave": 3}', '{"parts": {"tune": "x"}}', "[]"])
def test_a_list_that_names_no_parts_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "joint.json").write_text(content)
    with pytest.raises(ValueError, match=r"joint.json (is no joint sample|names the parts \['tune'\])"):
        MODALITY.read(tmp_path / "joint.json")


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
    measures = run.evaluate(joint)
    assert measures[0].name == "given wave: label as asked"
    assert measures[0].n == 8


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
