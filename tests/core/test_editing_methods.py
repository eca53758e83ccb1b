"""Editors that begin elsewhere, invert or measure: the contract, and what each of them promises."""

import itertools
from dataclasses import replace
from inspect import signature
from pathlib import Path as File
from typing import Any

import pytest
import torch

from anylatent import files
from anylatent.corrections.ddnm import DDNM
from anylatent.corrections.diffpir import DiffPIR
from anylatent.corrections.dps import DPS
from anylatent.corrections.mmps import MMPS
from anylatent.corrections.pi_gdm import PiGDM
from anylatent.corrections.red_diff import REDDiff
from anylatent.denoiser import Corruption, Denoiser
from anylatent.editing import directions
from anylatent.editing.base import Edit, Editor
from anylatent.editing.interpolate import Interpolate
from anylatent.editing.inverse import Inverse
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.editing.noise_space import NoiseSpace
from anylatent.editing.sdedit import SDEdit
from anylatent.editing.translate import Translate
from anylatent.engine import sample
from anylatent.generation import RowGenerator
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.hooks.base import Hook, Store, Visit
from anylatent.hooks.direction import Direction
from anylatent.measurements.average import Average, Total
from anylatent.measurements.base import Layout
from anylatent.measurements.blur import Blur
from anylatent.measurements.given import Function
from anylatent.measurements.select import Identity, Select
from anylatent.nn.sites import Context, Heads, Mix, Site, Sites
from anylatent.paths.base import Path
from anylatent.paths.between import slerp
from anylatent.recipe import read
from anylatent.sampling import Sampling
from anylatent.schedules import Resample, Restart
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.heun import Heun
from anylatent.solvers.invertible import BDIA, EDICT
from anylatent.spec import AxisSpec
from anylatent.state import Tally
from anylatent.testing import HookContract, TokenizerCase
from anylatent.testing.editors import EditingCase, EditingContract, counted, edited
from anylatent.tokenizers.grid import GridConfig
from anylatent.tokenizers.set import SetConfig

Y, X = AxisSpec(name="y", unit="cm", step=2.0), AxisSpec(name="x", unit="px")


def arrays(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


FIELDS = arrays((8, 6, 1), (4, 6, 1), (8, 4, 1))
CLOUDS = arrays((4, 3), (3, 3), (7, 3))
GRID = TokenizerCase(GridConfig(patch=(2, 2)), FIELDS, (Y, X)).fitted()
SET = TokenizerCase(SetConfig(), CLOUDS).fitted()
CENTRED = TokenizerCase(SetConfig(centred=(0, 1)), CLOUDS).fitted()
HALF = Select(anew={"y": (0.5, 1.0)})
GUIDED = Sampling(steps=5, guidance=ClassifierFree(scale=2.0))

CASES = {
    "sdedit": EditingCase(SDEdit(strength=0.4), GRID, FIELDS, {"label": 1}),
    "sdedit of a set": EditingCase(SDEdit(), CENTRED, CLOUDS),
    "resampled completion": EditingCase(MaskedCompletion(anew={"y": (0.5, 1)}, resample=2), GRID, FIELDS),
    "blended completion": EditingCase(MaskedCompletion(anew={"x": (0.5, 1)}, blend=True, strength=0.7), GRID, FIELDS),
    "ddnm": EditingCase(
        Inverse(measurement=HALF, method=DDNM()), GRID, FIELDS,
        refused=[(Inverse(measurement=Select(anew={"z": (0, 0.5)})), r"there is no axis \['z'\]: the tokens have \['x', 'y'\]")]
    ),
    "diffpir": EditingCase(Inverse(measurement=Average(over={"y": 2}, noise=0.1), method=DiffPIR()), GRID, FIELDS),
    "pi-gdm": EditingCase(Inverse(measurement=Blur(noise=0.1), method=PiGDM()), GRID, FIELDS, {"label": 2}, sampling=GUIDED),
    "dps": EditingCase(
        Inverse(measurement=Function(function=lambda x, layout: x.tanh() * layout.mask[..., None], noise=0.1), method=DPS()), SET, CLOUDS
    ),
    "dps by a number a row": EditingCase(
        Inverse(measurement=Function(function=lambda x, layout: x.square().sum((1, 2)), noise=0.1), method=DPS(scale=0.1)), SET, CLOUDS,
        refused=[
            (
                Inverse(measurement=Function(function=lambda x, layout: x.sum()), method=DPS()),
                r"measurement 'function' of (\d+) rows is to give a tensor \(\1,\) or \(\1, …\): it gave \(\)",
            ),
            (
                Inverse(measurement=Function(function=lambda x, layout: x.detach()), method=DPS()),
                "correction 'dps': measurement 'function' has no gradient: it is not of the tokens, or is detached",
            ),
        ],
    ),
    "mmps": EditingCase(
        Inverse(measurement=Identity(noise=0.5)), CENTRED, CLOUDS,
        refused=[
            (Inverse(measurement=Blur()), "measurement 'blur' needs axes to blur along: stream 'elements' has none"),
            (Inverse(measurement=Identity(stream="other")), r"there is no stream 'other' to measure: the tokens that are made are"),
        ],
    ),
    "red-diff": EditingCase(Inverse(measurement=Total(noise=0.1), method=REDDiff()), SET, CLOUDS),
    "inversion": EditingCase(Translate(), GRID, FIELDS, comes_back=1.0, by_seed=False),
    "exact inversion": EditingCase(Translate(solver=EDICT()), GRID, FIELDS, comes_back=1e-3, by_seed=False),
    "exact inversion under a condition": EditingCase(
        Translate(source={"label": 2}, solver=BDIA()), SET, CLOUDS, {"label": 2}, comes_back=1e-3, by_seed=False,
        refused=[
            (Translate(solver=Heun()), "solver 'heun' has no way back"),
            (Translate(source={"colour": 2}), r"unknown condition \['colour'\]: this denoiser knows \['label'\]"),
        ],
    ),
    "translation": EditingCase(
        Translate(source={"label": 0}), GRID, FIELDS, {"label": 1}, sampling=GUIDED, by_seed=False
    ),
    "attention from the source": EditingCase(
        Translate(source={"label": 0}, attention=AttentionFrom()), GRID, FIELDS, {"label": 1}, sampling=GUIDED, by_seed=False,
    ),
    "noise space": EditingCase(
        NoiseSpace(source={"label": 0}), GRID, FIELDS, {"label": 1},
        refused=[(NoiseSpace(source={"label": "none"}), "condition 'label': there is no class 'none'")]
    ),
    "noise space and back": EditingCase(NoiseSpace(source={"label": 1}), GRID, FIELDS, {"label": 1}, comes_back=1e-3, by_seed=False),
    "noise space of a sampler and back": EditingCase(NoiseSpace(trajectory="posterior"), CENTRED, CLOUDS, comes_back=1e-3, by_seed=False),
    "late noise space and back": EditingCase(NoiseSpace(strength=0.5, eta=0.7), SET, CLOUDS, comes_back=1e-3, by_seed=False),
    "between samples": EditingCase(
        Interpolate(), GRID, [FIELDS[0], FIELDS[0].flip(0)], by_row=False, by_seed=False, comes_back=1.5,
        refused=[(Interpolate(solver=Heun()), "solver 'heun' has no way back")]
    ),
}  # fmt: skip


class TestEditors(EditingContract):
    @pytest.fixture(scope="class", params=CASES.values(), ids=CASES)
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> EditingCase:
        return request.param


NONE = EditingCase(SDEdit(), GRID, FIELDS)


class Faulty(SDEdit, kind="test-faulty-editor"):
    """Asks the denoiser and does not say so, or has one seed for all."""

    fault: str

    def edit(self, tokenizer, given, seeds, generator, conditions) -> Edit:
        edit = super().edit(tokenizer, given, seeds, generator, conditions)
        if self.fault == "its_receipt_is_what_it_cost":
            generator.invert(edit.state, conditions, generator.sampling.model_copy(update={"solver": DDIM()}))
        return replace(edit, state=replace(edit.state, seeds=0 * edit.state.seeds)) if self.fault.startswith("seeds") else edit


@pytest.mark.parametrize("law", ["its_receipt_is_what_it_cost", "seeds_and_conditions_do_something"])
def test_a_law_finds_an_editor_that_breaks_it(law: str) -> None:
    case = EditingCase(Faulty(fault=law), GRID, FIELDS)
    generator = case.generator()
    done = counted(case, generator)
    given = {"case": case, "generator": generator, "done": done, "made": done[1].state}
    method = getattr(EditingContract(), f"test_{law}")
    with pytest.raises(AssertionError):
        method(**{name: given[name] for name in signature(method).parameters})


@pytest.mark.parametrize("editor", [SDEdit(), Inverse(measurement=HALF), Translate(), NoiseSpace(), MaskedCompletion(anew={"x": (0, 0.5)})])
def test_nothing_given_is_refused(editor: Editor) -> None:
    with pytest.raises(ValueError, match="no sample was given to edit"):
        edited(NONE.generator(), editor, GRID, [], [0], {})


# ----------------------------------------------------------------------------------------------------------- inverse problems


def test_what_was_measured_is_found_again() -> None:
    """Without noise `ddnm` puts it in at every step, the last too: the sample is measured as the given one was."""
    generator = CASES["ddnm"].generator()
    for measurement in (HALF, Average(over={"y": 2, "x": 2}), Total(along=("x",), channels=(0,))):
        editor = Inverse(measurement=measurement, method=DDNM())
        y = editor.measured(GRID, list(FIELDS), torch.arange(3))["tokens"]["y"]
        made = edited(generator, editor, GRID, list(FIELDS), [0, 1, 2], {})["tokens"]
        torch.testing.assert_close(measurement.apply(made.values, Layout.of(made, GRID.specs[0])), y, atol=1e-4, rtol=0)


def test_a_measurement_says_nothing_of_what_it_does_not_measure() -> None:
    """Two samples that are measured alike are restored alike, bit for bit."""
    generator = CASES["ddnm"].generator()
    other = FIELDS[0].clone()
    other[4:] = 7
    for method in (DDNM(), MMPS(), PiGDM()):
        editor = Inverse(measurement=HALF, method=method)
        one, two = (edited(generator, editor, GRID, [sample], [0], {})["tokens"].values for sample in (FIELDS[0], other))
        assert torch.equal(one, two)


def test_noise_of_a_measurement_is_the_rows_own() -> None:
    editor = Inverse(measurement=Identity(noise=0.5))
    together = editor.measured(SET, list(CLOUDS), torch.tensor([4, 5, 6]))["elements"]["y"]
    clean = SET.encode(list(CLOUDS))["elements"]
    for row in range(3):
        alone = editor.measured(SET, [CLOUDS[row]], torch.tensor([4 + row]))["elements"]["y"][0]
        torch.testing.assert_close(together[row, : len(alone)], alone)
    many = editor.measured(SET, [CLOUDS[0]], torch.arange(500))["elements"]["y"] - clean.values[0, :4]
    assert abs(float(many.std()) - 0.5) < 0.03
    assert not together[~clean.mask].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"measurement": HALF, "method": {"kind": "clip"}},
            "'clip' goes by no measurement: choose one of ddnm, diffpir, dps, mmps, pi-gdm, red-diff",
        ),
        ({"measurement": HALF, "method": {"kind": "ddnm", "measurement": {"kind": "blur"}}}, "said twice, and not alike"),
    ],
)
def test_a_method_must_go_by_the_measurement(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(Editor, {"kind": "inverse", "measurement": HALF.model_dump(mode="json"), "method": fields["method"]})
    same = {"kind": "ddnm", "measurement": HALF.model_dump(mode="json")}
    assert read(Editor, {"kind": "inverse", "measurement": HALF.model_dump(mode="json"), "method": same}).correction() == DDNM(
        measurement=HALF
    )  # type: ignore[attr-defined]


def test_a_function_needs_a_method_that_differentiates() -> None:
    with pytest.raises(ValueError, match="needs a linear measurement"):
        Inverse(measurement=Function(function=lambda x, layout: x), method=PiGDM())


def test_measuring_nothing_is_refused() -> None:
    short = Select(anew={"y": (0.9, 1.0)}, invert=True)
    with pytest.raises(ValueError, match="nothing would be measured of given sample 0: choose another region"):
        Inverse(measurement=Select(anew={"y": (0.4, 0.6)}, invert=True)).measured(GRID, [FIELDS[0]], torch.arange(1))
    assert Inverse(measurement=short).measured(GRID, [FIELDS[0]], torch.arange(1))


def test_rows_of_other_requests_beside() -> None:
    """Requests of other sizes share a lane: what was measured is padded, and each row is as it is alone."""
    generator = CASES["ddnm"].generator()
    editor = Inverse(measurement=HALF, method=PiGDM())
    edits = [editor.edit(GRID, [FIELDS[i]], torch.tensor([i]), generator, [{}]) for i in (1, 0)]
    alone = [next(iter(generator.stream(e.state, [{}], known=e.known, sampling=e.sampling))).state["tokens"].values for e in edits]
    streams = [generator.stream(e.state, [{}], known=e.known, sampling=e.sampling) for e in edits]
    first = next(streams[0])
    second = next(streams[1])
    for made, own in zip((first, second), alone, strict=True):
        torch.testing.assert_close(made.state["tokens"].values[:, : own.shape[1]], own, atol=1e-4, rtol=0)


# ---------------------------------------------------------------------------------------------------------------- completion


def test_a_completion_can_be_made_again_and_again() -> None:
    generator = NONE.generator()
    plain = Sampling(steps=6)
    generator = RowGenerator(generator.denoiser, plain, noised=False)
    editor = MaskedCompletion(anew={"y": (0.5, 1)}, resample=3, jump=2)
    edit = editor.edit(GRID, list(FIELDS), torch.arange(3), generator, [{}] * 3)
    assert edit.sampling is not None
    assert edit.sampling.schedule == Resample(of=plain.schedule, jump=2, repeats=3)
    once = MaskedCompletion(anew={"y": (0.5, 1)}).edit(GRID, list(FIELDS), torch.arange(3), generator, [{}] * 3)
    assert (once.sampling, once.begin, once.noised) == (None, 1.0, None)
    made = edited(generator, editor, GRID, list(FIELDS), [0, 1, 2], {})["tokens"]
    assert torch.equal(made.values[edit.state["tokens"].keep], edit.state["tokens"].values[edit.state["tokens"].keep])
    rising = RowGenerator(generator.denoiser, Sampling(schedule=Restart()), noised=False)
    with pytest.raises(ValueError, match="goes up from a schedule that falls"):
        edited(rising, editor, GRID, list(FIELDS), [0], {})


def test_a_little_strength_changes_little() -> None:
    generator = NONE.generator()
    clean = GRID.encode(FIELDS)["tokens"].values
    for editors in (
        [SDEdit(strength=s) for s in (0.05, 0.3, 0.9)],
        [NoiseSpace(source={"label": 0}, strength=s) for s in (0.05, 0.3, 0.9)],
    ):
        apart = [(edited(generator, e, GRID, list(FIELDS), [0, 1, 2], {"label": 1})["tokens"].values - clean).abs().mean() for e in editors]
        assert apart[0] < apart[1] < apart[2]


# ------------------------------------------------------------------------------------------------- inversion and translation


def test_an_inversion_comes_back_at_the_order_of_its_solver() -> None:
    """DDIM's way back is wrong by what the prediction changes within a step: half of that with twice the steps."""
    generator, clean = CASES["inversion"].generator(), GRID.encode(FIELDS)["tokens"].values
    errors = []
    for steps in (8, 32):
        finer = RowGenerator(generator.denoiser, Sampling(steps=steps), noised=False)
        errors.append(float((edited(finer, Translate(), GRID, list(FIELDS), [0, 1, 2], {})["tokens"].values - clean).abs().mean()))
    assert errors[1] < errors[0] / 2


def test_a_cycle_comes_back() -> None:
    """A to B and B to A is A again (cycle consistency of DDIB), exactly with an invertible solver."""
    generator = RowGenerator(CASES["translation"].generator().denoiser, Sampling(steps=5), noised=False)
    there = edited(generator, Translate(source={"label": 0}, solver=DDIM()), GRID, list(FIELDS), [0, 1, 2], {"label": 1})
    clean = GRID.encode(FIELDS)["tokens"].values
    assert (there["tokens"].values - clean).abs().mean() > 0.05, "nothing was translated"
    finer = RowGenerator(generator.denoiser, Sampling(steps=32), noised=False)
    there = edited(finer, Translate(source={"label": 0}), GRID, list(FIELDS), [0, 1, 2], {"label": 1})
    back = edited(finer, Translate(source={"label": 1}), GRID, GRID.decode(there), [0, 1, 2], {"label": 0})
    assert (back["tokens"].values - clean).abs().mean() < 0.2 * (there["tokens"].values - clean).abs().mean()


class Taking(Sites):
    """Attention by hand: writes down its heads, or takes some of those that were."""

    def __init__(self, take: str = "", kept: dict[Site, Heads] | None = None) -> None:
        self.take, self.kept = take, {} if kept is None else kept

    def attend(self, site: Site, mix: Mix, heads: Heads, context: Context) -> torch.Tensor:
        if not self.take:
            self.kept[site] = heads
            return mix(heads, context)
        source = self.kept[site]
        return mix(heads._replace(k=source.k, v=source.v) if self.take == "keys-values" else source._replace(v=heads.v), context)


@pytest.mark.parametrize("take", ["keys-values", "queries-keys"])
def test_attention_from_the_source_is_the_one_by_hand(take: Any) -> None:
    """In one step, which gives back the prediction: asked for one thing, with heads that were asked for another."""
    case = CASES["translation"]
    generator = RowGenerator(case.generator().denoiser, Sampling(steps=1, solver=DDIM()), noised=False)
    denoiser, clean = generator.denoiser, GRID.encode(FIELDS)
    editor = Translate(source={"label": 0}, attention=AttentionFrom(take=take))
    made = edited(generator, editor, GRID, list(FIELDS), [0, 1, 2], {"label": 1})
    there = generator.invert(clean, [{"label": 0}] * 3).state
    state = there.with_time({"tokens": torch.full_like(there["tokens"].time, denoiser.path("tokens").start("velocity"))})
    source = Taking()
    denoiser(state, denoiser.conditions([{"label": 0}] * 3), source)
    asked = denoiser.conditions([{"label": 1}] * 3)
    expected, alone = denoiser(state, asked, Taking(take, source.kept))["tokens"], denoiser(state, asked)["tokens"]
    mask = clean["tokens"].mask[..., None]
    torch.testing.assert_close(made["tokens"].values, expected * mask, atol=1e-5, rtol=0)
    assert (expected - alone).abs().max() > 1e-3, "it does something"


def test_attention_that_is_never_taken_is_a_plain_translation() -> None:
    case = CASES["translation"]
    generator = case.generator()
    never, plain = (
        edited(generator, Translate(source={"label": 0}, attention=attention), GRID, list(FIELDS), [0, 1, 2], {"label": 1})["tokens"].values
        for attention in (AttentionFrom(first=1001), None)
    )
    torch.testing.assert_close(never, plain, atol=1e-5, rtol=0)


def test_the_source_is_seen_where_it_was() -> None:
    """In the branch "source" tokens are those of the inversion at that time: asked for the source too, nothing is to be taken."""
    generator = RowGenerator(CASES["inversion"].generator().denoiser, Sampling(steps=5), noised=False)
    source = {"label": 0}
    plain, sharing = (
        edited(generator, Translate(source=source, solver=BDIA(), attention=attention), GRID, list(FIELDS), [0, 1, 2], source)[
            "tokens"
        ].values
        for attention in (None, AttentionFrom())
    )
    torch.testing.assert_close(plain, sharing, atol=2e-3, rtol=0)


def test_recorded_noise_is_larger_than_a_samplers() -> None:
    """As Huberman-Spiegelglas et al. found: drawn each for itself, noisy copies differ by more than neighbours of a sampler do."""
    generator = NONE.generator()
    deviations = {}
    for trajectory in ("independent", "posterior"):
        edit = NoiseSpace(trajectory=trajectory).edit(GRID, [FIELDS[0]], torch.arange(64), generator, [{}] * 64)  # type: ignore[arg-type]
        assert edit.known is not None
        deviations[trajectory] = float(edit.known.recorded["tokens"][:, :-1].std())
    assert deviations["independent"] > 1.05 * deviations["posterior"]


# --------------------------------------------------------------------------------------------------------------- interpolation


def test_points_on_a_great_circle() -> None:
    one, other = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
    other = other * one.norm() / other.norm()
    points = slerp(one, other, 7)
    torch.testing.assert_close(points[0], one, atol=1e-5, rtol=0)
    torch.testing.assert_close(points[-1], other, atol=1e-5, rtol=0)
    torch.testing.assert_close(points.flatten(1).norm(dim=1), one.norm().expand(7), atol=1e-3, rtol=0)
    angles = [float((a * b).sum() / one.norm() ** 2) for a, b in itertools.pairwise(points)]
    assert max(angles) - min(angles) < 1e-5
    assert torch.equal(slerp(one, one, 3), one.expand(3, -1, -1))


def test_between_two_seeds_the_ends_are_the_seeds_samples() -> None:
    generator = NONE.generator()
    rows = [10, 11, 12, 13, 14]
    made = edited(generator, Interpolate(), GRID, [], rows, {"label": 1})["tokens"].values
    state = GRID.layout(torch.tensor([10, 14]))
    same = GRID.layout(torch.tensor([10]))
    plain = RowGenerator(generator.denoiser, generator.sampling.model_copy(update={"solver": DDIM()}), noised=False)
    layout = same.select([0, 0])
    ends = plain(type(layout)(layout.streams, layout.rows, state.seeds), [{"label": 1}] * 2)["tokens"].values
    torch.testing.assert_close(made[[0, -1]], ends, atol=1e-4, rtol=0)


def test_ends_of_given_samples_are_these() -> None:
    generator = RowGenerator(NONE.generator().denoiser, Sampling(steps=40), noised=False)
    ends = [FIELDS[0], FIELDS[0].flip(0)]
    made = edited(generator, Interpolate(), GRID, ends, list(range(5)), {})["tokens"].values
    clean = GRID.encode(ends)["tokens"].values
    assert (made[[0, -1]] - clean).abs().mean() < 0.15 * (clean[0] - clean[1]).abs().mean()


@pytest.mark.parametrize(
    ("given", "seeds", "message"),
    [
        (FIELDS[:2], [0, 1, 2], "the two given samples have 12 and 6 tokens in stream 'tokens': an interpolation needs as many"),
        (FIELDS[:1], [0, 1, 2], "from one given sample to another, given 1: give two, or none to go between two seeds"),
        ([*FIELDS[:1]] * 3, [0, 1, 2], "from one given sample to another, given 3: give two"),
        (FIELDS[:2], [0], "an interpolation has two ends: ask for 2 samples or more"),
    ],
)
def test_an_interpolation_needs_two_alike(given: list[torch.Tensor], seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edited(NONE.generator(), Interpolate(), GRID, given, seeds, {})


def test_noise_is_not_found_by_a_denoiser_that_goes_by_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = NONE.generator()
    monkeypatch.setattr(type(generator.denoiser), "self_conditioned", True)
    with pytest.raises(ValueError, match="'noise-space' asks about single noisy copies: a self-conditioned denoiser goes by what it said"):
        edited(generator, NoiseSpace(), GRID, list(FIELDS), [0], {})


def test_noise_is_recorded_along_falling_times_only() -> None:
    generator = RowGenerator(NONE.generator().denoiser, Sampling(schedule=Restart()), noised=False)
    with pytest.raises(ValueError, match="'noise-space' needs a schedule that falls, of all tokens together: schedule 'restart' does not"):
        edited(generator, NoiseSpace(), GRID, list(FIELDS), [0], {})


# ------------------------------------------------------------------------------------------------------- hooks and directions


class TestAttentionFrom(HookContract):
    """Between branches of a guidance: the asked one attends to the null's keys and values."""

    @pytest.fixture(scope="class")
    @classmethod
    def hook(cls) -> Hook:
        return AttentionFrom(source="null")

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        return AttentionFrom(source="null", first=3)


class TestDirection(HookContract):
    @pytest.fixture(scope="class")
    @classmethod
    def hook(cls, tmp_path_factory: pytest.TempPathFactory) -> Hook:
        file = directions.save(torch.linspace(-1, 1, 32), tmp_path_factory.mktemp("directions") / "some.safetensors")
        return Direction(file=str(file), block=1, strength=2.0, interval=(0.1, 0.9))

    @pytest.fixture(scope="class")
    @classmethod
    def neutral(cls) -> Hook:
        return Direction(file="none", strength=0)

    def test_a_small_budget_costs_no_correctness(self, denoiser: Denoiser, neutral: Hook, hook: Hook) -> None:
        """It remembers nothing, so a budget changes nothing."""
        starved, whole = (sample(denoiser, self._request(denoiser, [0, 1], (hook,)), budget=budget)[0] for budget in (1, 1 << 30))
        assert torch.equal(starved["tokens"].values, whole["tokens"].values)


def test_a_direction_is_what_two_conditions_differ_by(tmp_path: File) -> None:
    """Found in contrast, added to rows that are asked the one, it brings them nearer to what the other says."""
    generator = CASES["translation"].generator()
    denoiser, clean = generator.denoiser, GRID.encode(FIELDS)
    found = directions.contrast(denoiser, clean, {"label": 2}, {"label": 0}, [0.5], block=1)
    assert found.shape == (32,)
    back = directions.contrast(denoiser, clean, {"label": 0}, {"label": 2}, [0.5], block=1)
    torch.testing.assert_close(found, -back)
    file = directions.save(found, tmp_path / "to-2.safetensors")
    made = {}
    state = GRID.layout(torch.arange(3))
    for name, asked, strength in (("from", 0, 0.0), ("moved", 0, 1.0), ("to", 2, 0.0)):
        sampling = Sampling(steps=5, hooks=(Direction(file=str(file), block=1, strength=strength),))
        made[name] = generator(state, [{"label": asked}] * 3, sampling=sampling)["tokens"].values
    assert (made["moved"] - made["to"]).abs().mean() < (made["from"] - made["to"]).abs().mean()


def test_a_direction_of_each_token_says_where() -> None:
    """It brings samples nearer to what the other condition says than one for all tokens alike, and is refused where it does not fit."""
    generator = CASES["translation"].generator()
    denoiser, clean = generator.denoiser, GRID.encode([FIELDS[0]] * 4)
    each, alike = (directions.contrast(denoiser, clean, {"label": 2}, {"label": 0}, [0.5], 1, each) for each in (True, False))
    assert each.shape == (12, 32)
    torch.testing.assert_close(each.mean(0), alike, atol=1e-5, rtol=1e-4)
    one, other = (directions.inside(denoiser, clean, [{"label": i}] * 4, 0.5, 1, each=True) for i in (2, 0))
    moved = [(other + step - one).norm() for step in (each, alike, 0)]
    assert moved[0] < 0.95 * moved[1] < 0.95 * moved[2]
    with pytest.raises(ValueError, match="a direction of each token needs samples with the same tokens: these have 6 to 12"):
        directions.inside(denoiser, GRID.encode(FIELDS), [{}] * 3, 0.5, 1, each=True)


def test_each_token_moves_by_its_own_part(tmp_path: File) -> None:
    """Prepended tokens and padding do not; and the second of a file's directions is another one."""
    steps = torch.arange(1.0, 5.0)[:, None].expand(4, 2)
    file = directions.save([torch.zeros(2), steps], tmp_path / "two.safetensors")
    hook = Direction(file=str(file), number=1, strength=2.0)
    mask = torch.tensor([[1, 1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 1, 0, 0]]).bool()
    rows = torch.tensor([True, True])

    def moved(mask: torch.Tensor) -> list[list[float]]:
        context = Context(torch.zeros(2, 1, 1), None, mask, None, None, ahead=1)
        visit = Visit([(0, ""), (1, "")], rows, rows.long(), rows.long(), torch.tensor([0.5, 0.5]), Store(), Tally())
        return hook.around(Site("block", 0), lambda x, context: x, torch.zeros(2, 7, 2), context, visit)[..., 0].tolist()

    assert moved(mask) == [[0, 2, 4, 0, 0, 6, 8], [0, 2, 4, 6, 8, 0, 0]]
    directions.save([torch.zeros(2), torch.ones(2)], file)  # for all tokens alike; the file is read again
    assert moved(mask) == [[0, 2, 2, 0, 0, 2, 2], [0, 2, 2, 2, 2, 0, 0]]
    directions.save([torch.zeros(2), steps], file)
    mask[1, 4] = False
    with pytest.raises(ValueError, match=r"two.safetensors is of 4 tokens, each its own: a sample here has 3; make samples"):
        moved(mask)


def test_what_a_direction_is_worth_is_told_of_other_rows() -> None:
    generator = CASES["translation"].generator()
    denoiser, clean = generator.denoiser, GRID.encode([FIELDS[0]] * 8)
    seen, others = clean.select(range(4)), clean.select(range(4, 8))
    two, none = {"label": 2}, {"label": 0}
    found = directions.contrast(denoiser, seen, two, none, [0.3, 0.5], 1, each=True)
    worth = directions.told_apart(denoiser, others, two, none, [0.3, 0.5], 1, found)
    assert (worth.value, worth.n) == (1.0, 4)
    assert directions.told_apart(denoiser, others, two, none, [0.3, 0.5], 1, -found).value == 0
    assert directions.told_apart(denoiser, others, two, none, [0.3, 0.5], 1, 0 * found).value == 0, "what says nothing tells nothing apart"
    three = directions.principal(denoiser, seen, [two] * 4, 0.5, 1, 3, each=True)
    assert three.shape == (3, 12, 32)
    own = directions.explained(denoiser, seen, [two] * 4, 0.5, 1, three)
    assert sum(measure.value for measure in own) == pytest.approx(1.0), "four rows differ in three directions"
    assert own[0].value > own[1].value > own[2].value
    assert 0 < sum(measure.value for measure in directions.explained(denoiser, others, [two] * 4, 0.5, 1, three)) < 1


def test_principal_directions_are_the_svd_of_what_tokens_are() -> None:
    generator = CASES["translation"].generator()
    clean = GRID.encode(FIELDS)
    asked = [{"label": i} for i in range(3)]
    found = directions.principal(generator.denoiser, clean, asked, 0.5, block=1, count=2)
    seen = directions.inside(generator.denoiser, clean, asked, 0.5, block=1)
    covariance = torch.cov(seen.mT.double())
    for direction in found.double():
        unit = direction / direction.norm()
        torch.testing.assert_close(covariance @ unit, direction.norm() ** 2 * unit, atol=1e-6, rtol=1e-3)
    with pytest.raises(ValueError, match="3 samples differ in 2 directions, asked for 3: take more samples, or ask for fewer"):
        directions.principal(generator.denoiser, clean, asked, 0.5, block=1, count=3)
    with pytest.raises(ValueError, match="names block 7: the denoiser has blocks 0 to 1"):
        directions.inside(generator.denoiser, clean, asked, 0.5, block=7)


def test_a_direction_of_another_width_is_refused(tmp_path: File) -> None:
    generator = CASES["translation"].generator()
    file = directions.save(torch.ones(5), tmp_path / "five.safetensors")
    with pytest.raises(ValueError, match=r"five.safetensors has \(5,\) numbers: tokens have 32 after block 0"):
        generator(GRID.layout(torch.arange(1)), [{}], sampling=Sampling(steps=2, hooks=(Direction(file=str(file)),)))
    files.write_tensors(tmp_path / "other.safetensors", {"vector": torch.ones(32)})
    hooked = Sampling(steps=2, hooks=(Direction(file=str(tmp_path / "other.safetensors")),))
    with pytest.raises(ValueError, match=r"other.safetensors has no tensor 'direction' \(it has vector\): `anylatent direction` writes"):
        generator(GRID.layout(torch.arange(1)), [{}], sampling=hooked)


@pytest.mark.parametrize("editor", [Translate(), Interpolate(), NoiseSpace(), Inverse(measurement=Identity())], ids=lambda e: e.kind)
def test_editors_of_noise_refuse_paths_without_one(editor: Editor) -> None:
    class Stepwise(Path, kind="test-stepwise"):
        pass

    generator = NONE.generator()
    generator.denoiser.corruptions = {"tokens": Corruption(Stepwise(), "data")}
    with pytest.raises(ValueError, match=rf"editor '{editor.kind}' .* along Gaussian paths, not 'test-stepwise' \(stream 'tokens'\)"):
        editor.edit(GRID, [FIELDS[0], FIELDS[0]], torch.arange(2), generator, [{}] * 2)
