"""Every method on every modality, tried: what the tests run and what `docs/compatibility.md` shows.

`python tests/every_method.py` writes the page again. A method is sampled (or trained a step) with tiny networks. Either the program
refuses it, with a reason, before anything is made; or rows alone are as in their batch, what is kept comes back, all is finite, the
result decodes, and guidance, hooks and corrections have changed something. What a method is tried with it says itself, for the axes,
streams and conditions of the modality (`Node.example_for`).
"""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from pydantic import ValidationError

from anylatent.best_of import BestOf
from anylatent.build import build_denoiser, build_tokenizer, condition_values
from anylatent.catalogue import PERCEPTION
from anylatent.components import core_components
from anylatent.conditioners.standard import ClassConfig
from anylatent.corrections.energy import EnergyGuidance
from anylatent.corrections.posterior import Consistent
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.editing import directions
from anylatent.editing.base import Edit, Editor, encoded
from anylatent.editing.interpolate import Interpolate
from anylatent.editing.inverse import Inverse
from anylatent.energies import Energy, SampleEnergy
from anylatent.engine import receipts
from anylatent.generation import RowGenerator, gathered
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.none import Unguided
from anylatent.guidance.rules.linear import LinearRule
from anylatent.guidance.timed import Annealing
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.joint.joint_tokenizer import JointTokenizer
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.known import Known
from anylatent.measurements.base import Layout
from anylatent.metrics.denoiser_knows import DiffusionClassifier, LikelihoodMetric, Probe
from anylatent.node import Components, Node, Stage
from anylatent.objective import Objective, StreamObjective
from anylatent.paths import Bridge, Rectified
from anylatent.paths.base import GaussianPath
from anylatent.paths.base import Path as NoisePath
from anylatent.perception.diffusion_classifier import denoising_errors
from anylatent.perception.features import sample_features, token_features
from anylatent.perception.likelihood import begins, log_likelihood
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.recipe import load
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import Uniform
from anylatent.solvers.base import Around, Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.value_search import ValueSearch
from anylatent.spec import StreamSpec
from anylatent.state import Receipt, State, Stream
from anylatent.testing.backbones import shaken
from anylatent.testing.metrics import Listed
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.tokenizers.levels import BitsConfig, LevelsConfig

ROOT = Path(__file__).parents[1]
RECIPES = {path.parent.name: path for path in sorted((ROOT / "recipes").glob("*/smoke.yaml"))}
PAGE = ROOT / "docs" / "compatibility.md"
SAMPLING = (
    "path", "schedule", "solver", "guidance", "rule", "annealing", "hook", "correction", "measurement", "energy", "best_of", "editor",
    "perception", "denoiser",
)  # fmt: skip
TRAINING = ("path", "times", "weighting", "loss", "coupling")
CHANGING = ("guidance", "rule", "annealing", "hook", "correction", "measurement", "energy")
"""Families whose methods must have changed something, unless they were refused."""
COUNTING = ("guidance", "hook", "correction")
"""Families whose methods say in receipts of their own what they did."""
FIELDS = {"loss": "error"}
"""What an objective calls a family, where that is another name."""
OF_A_BATCH = {"interpolate", "optimal-transport"}
"""Methods in which a row is what it is by the others: so they say."""
IDLE = {"none", "attention-received", "linear"}
"""Methods that are there to do nothing, to be read, or are what is there without them."""
TOUCHLESS = {frozenset({"windows", "perturb-attention"}), frozenset({"without-streams", "perturb-attention"})}
"""Pairs of which one takes away what the other acts on: where tokens do not mix, it does not matter who sees whom."""
SMALL = {"likelihood": {"steps": 3}, "diffusion-classifier": {"draws": 2}}
"""Fewer calls than one would make, of methods that make many."""
STEPS = 6
SEEDS = [5, 6, 7]
TOGETHER = 1e-4
"""How far values of a row in a batch may be from those alone, beside 1 and their size: the most of any pair is 1.3e-5."""


class Refused(Exception):
    """The program does not do this, and says why."""


class Largeness(SampleEnergy, kind="test.largeness"):
    """The mean square of a sample's numbers, for `part`, which needs an energy of some modality's samples."""

    def of_samples(self, samples: list[Any]) -> torch.Tensor:
        return torch.stack([torch.as_tensor(sample, dtype=torch.float32).square().mean() for sample in samples])


KNOWN = Components([*core_components(), Largeness])


@dataclass(frozen=True)
class Method:
    """A component, or an option that is none, in one of the ways in which it works."""

    family: str
    kind: str
    """As the tables name it: `compose: mixture`."""
    node: type[Node]
    variation: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields that are other than those of its example."""

    @property
    def name(self) -> str:
        """What it must be called when it is refused."""
        return "self-condition" if self.family == "denoiser" else self.node.kind or self.family

    def on(self, case: "Case") -> Any:
        """It at work on a modality. Errors: `Refused`."""
        fields = self.node.example_for(case.stage, self.variation)
        if "file" in fields:
            fields["file"] = _direction()
        if self.node.kind == "part":
            fields |= {"part": case.stage.stream, "energy": {"kind": Largeness.kind}}
        kind = {"kind": self.node.kind} if self.node.kind else {}
        try:
            return self.node.model_validate(kind | fields | self.settings, context={"components": KNOWN})
        except ValidationError as error:
            raise Refused(_words(error)) from error


def _words(error: ValidationError) -> str:
    """What a person is told of it."""
    return "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())


@cache
def _direction() -> str:
    """A file with a direction for the hook of that name, as wide as the small networks."""
    file = Path(mkdtemp()) / "direction.safetensors"
    directions.save(torch.linspace(-1, 1, WIDTH), file)
    return str(file)


WIDTH = 32
"""Of the small networks."""


def of_node(node: type[Node], variation: str = "", settings: Mapping[str, Any] | None = None) -> Method:
    """The method that a component is."""
    family = "perception" if node.family == "metric" else node.family or {BestOf: "best_of", Annealing: "annealing"}[node]
    kind = node.kind or ("cosine" if node is Annealing and not variation else "best_of" if node is BestOf else "")
    return Method(family, ": ".join(filter(None, (kind, variation))), node, variation, settings or {})


@cache
def methods() -> dict[str, list[Method]]:
    """The methods of each family that a recipe can name: one of each kind, at work, and its variations."""
    found: dict[str, list[Method]] = {}
    for node in (*core_components(), BestOf, Annealing):
        known = node.family in (*SAMPLING, *TRAINING) or node.kind in PERCEPTION or node in (BestOf, Annealing)
        if known and not node.python_only:
            for variation in ("", *node.variations):
                method = of_node(node, variation, SMALL.get(node.kind))
                found.setdefault(method.family, []).append(method)
    found["denoiser"] = [Method("denoiser", "self-conditioning", DiTConfig, settings={"self_conditioning": 0.5})]
    order = dict.fromkeys((*SAMPLING, *TRAINING))
    return {family: found[family] for family in order}


def method(family: str, kind: str) -> Method:
    """The one of that name."""
    return next(each for each in methods()[family] if each.kind == kind)


@dataclass(frozen=True, eq=False)
class Case:
    """A modality's smoke recipe, a tokenizer fitted to some of its samples, and what those are asked to be."""

    recipe: Recipe
    tokenizer: Tokenizer
    samples: list[Any]
    asked: list[dict[str, Any]]

    @cached_property
    def stage(self) -> Stage:
        """What examples of methods are to suit."""
        state = self.tokenizer.encode(self.samples[:3])
        made = [spec for spec in self.tokenizer.specs if not spec.given]
        spec = next((spec for spec in made if spec.axes), made[0])
        values = {name: list(dict.fromkeys(row[name] for row in self.asked if name in row)) for name in self.recipe.conditions}
        names = [spec.name for spec in self.tokenizer.specs]
        return Stage(spec.name, spec.width, _axes(spec, state[spec.name]), names, values)

    def path(self, spec: StreamSpec, path: NoisePath) -> NoisePath:
        """The path of a stream: a bridge is for those that are made, each from its own source."""
        if isinstance(path, Bridge) and spec.given:
            return Rectified()
        return path.model_copy(update={"source": spec.name.replace("made", "source", 1)}) if isinstance(path, Bridge) else path

    def corruptions(self, path: NoisePath) -> dict[str, Corruption]:
        """How each stream is noised. Errors: `Refused` for a path that cannot carry the streams."""
        found = {}
        for spec in self.tokenizer.specs:
            own = self.path(spec, path)
            if own.refuses(spec):
                raise Refused(own.refuses(spec))
            found[spec.name] = Corruption(own, prediction_on(own))
        return found

    @cache  # noqa: B019 (cases are kept for ever)
    def denoiser(self, path: NoisePath, seed: int = 0, told: bool = False) -> Denoiser:
        """A small transformer whose weights do something; `told`: a self-conditioned one.

        Errors: `Refused` for a path that cannot carry the streams.
        """
        found = self.corruptions(path)
        own = {name: StreamObjective(path=each.path, prediction=each.prediction) for name, each in found.items()}
        recipe = self.recipe.model_copy(
            update={
                "denoiser": self.recipe.denoiser.model_copy(
                    update={"depth": 2, "width": WIDTH, "heads": 2, "self_conditioning": 0.5 * told}
                ),
                "objective": self.recipe.objective.model_copy(update={"streams": own}),
            }
        )
        values = {name: [row.get(name) for row in self.asked] for name in recipe.conditions}
        denoiser = build_denoiser(recipe, self.tokenizer.specs, values)
        shaken(denoiser, seed, size=0.05 if isinstance(path, GaussianPath) else 0.2)
        return denoiser.eval().requires_grad_(False)

    @cache  # noqa: B019
    def classifier(self, condition: str, path: NoisePath) -> TokenClassifier:
        """A small one whose weights do something, of all that the samples are said to be, and of something else."""
        values = ["something else", *dict.fromkeys(row[condition] for row in self.asked if condition in row)]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            backbone = DiTConfig(depth=1, width=WIDTH, heads=2).build(self.tokenizer.specs, False)
            classifier = TokenClassifier(backbone, self.corruptions(path), values)
        shaken(classifier, size=0.05)
        return classifier.eval().requires_grad_(False)


def _axes(spec: StreamSpec, stream: Stream) -> dict[str, tuple[float, int]]:
    """By name, how long a step is, and how many the shortest row has."""
    found = {}
    for i, axis in enumerate(spec.axes):
        reach = [float((row[mask].amax() - row[mask].amin()) / axis.step) for row, mask in zip(stream.positions[..., i], stream.mask)]
        found[axis.name] = (axis.step, round(min(reach)) + 1)
    return found


class Paired(JointTokenizer):
    """A modality's tokens twice, of which one copy is always given: what a bridge goes between."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        parts = {"made": tokenizer, "source": tokenizer}
        super().__init__(JointConfig(parts=dict.fromkeys(parts, tokenizer.config)), parts)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        return tuple(spec.model_copy(update={"given": spec.given or spec.name.startswith("source")}) for spec in super().specs)

    def encode(self, samples: Sequence[Any], seeds: torch.Tensor | None = None) -> State:
        return super().encode([{"made": sample, "source": sample} for sample in samples], seeds)

    def decode(self, state: State) -> list[Any]:
        return [sample["made"] for sample in super().decode(state)]


def prediction_on(path: NoisePath) -> Any:
    """What the small networks predict there."""
    usual = "preconditioned" if path.kind == "edm" else "velocity"
    return usual if usual in path.predictions else path.predictions[0]


@cache
def case_of(modality: str, kind: str = "") -> Case:
    """Some samples of its smoke recipe's data; for a path of some kind, with its tokens as a vocabulary, as bits, or twice.

    Errors: `Refused` if its tokens cannot be those.
    """
    if kind == Bridge.kind:
        plain = case_of(modality)
        if not isinstance(plain.tokenizer, JointTokenizer):
            return replace(plain, tokenizer=Paired(plain.tokenizer))
        part, tokenizer = next(iter(plain.tokenizer.named.items()))
        return replace(plain, tokenizer=Paired(tokenizer), samples=[sample[part] for sample in plain.samples])
    recipe = load(RECIPES[modality])
    if kind:
        recipe = recipe.model_copy(update={"tokenizer": _discrete(recipe.tokenizer, kind)})
    train = recipe.modality.data.build("train")
    count = min(24, len(train))
    records = [train[i * len(train) // count] for i in range(count)]
    if not recipe.conditions:  # guidance is tried everywhere
        name = next(name for name, value in records[0].conditions.items() if isinstance(value, int | str))
        recipe = recipe.model_copy(update={"conditions": {name: ClassConfig()}})
    asked = _told_apart(condition_values(recipe, Listed(records)))
    samples = [record.sample for record in records]
    try:
        tokenizer = build_tokenizer(recipe, records[0].sample)
        tokenizer.prepare(samples)
        tokenizer.eval().requires_grad_(False).fit(samples)
    except ValueError as error:
        if not kind:
            raise
        raise Refused(str(error)) from error
    order = _alike_first(tokenizer, samples)
    return Case(recipe, tokenizer, [samples[i] for i in order], [asked[i] for i in order])


def _told_apart(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What samples are asked to be, with two values or more of each name: where the data have one, every second one's is another."""
    single = {name for row in asked for name in row if len({str(other.get(name)) for other in asked}) == 1}
    return [row | {name: f"not {row[name]}" for name in single if i % 2} for i, row in enumerate(asked)]


def _alike_first(tokenizer: Tokenizer, samples: list[Any]) -> list[int]:
    """An order in which the first two samples are laid out alike, and the third is of another size if there is one."""
    sizes = [tuple(int(stream.mask.sum()) for stream in tokenizer.encode([sample]).streams.values()) for sample in samples]
    first, second = next((i, k) for i in range(len(sizes)) for k in range(i + 1, len(sizes)) if sizes[i] == sizes[k])
    rest = [i for i in range(len(sizes)) if i not in (first, second)]
    return [first, second, *sorted(rest, key=lambda i: sizes[i] == sizes[first])]


def _discrete(tokenizer: TokenizerConfig, kind: str) -> TokenizerConfig:
    """A tokenizer whose tokens are those of another, as a vocabulary or bits."""
    if isinstance(tokenizer, JointConfig):
        return JointConfig(parts={name: _discrete(part, kind) for name, part in tokenizer.parts.items()})
    if kind == "masked":
        return LabelConfig(classes=10) if isinstance(tokenizer, LabelConfig) else LevelsConfig(inner=tokenizer, levels=5)
    if kind == "uniform-state":
        return LevelsConfig(inner=tokenizer, levels=5, prior="uniform")
    return BitsConfig(inner=tokenizer, bits=2)


Chosen = Mapping[str, Method]
"""The methods of a trial, by family."""


def path_of(modality: str, chosen: Chosen) -> NoisePath:
    """The path of a trial: the one that is tried, or one that the solver moves along."""
    if "path" in chosen:
        method = chosen["path"]
        return Bridge(source="source") if method.node is Bridge else method.on(case_of(modality))
    solver = chosen["solver"].on(case_of(modality)) if "solver" in chosen else None
    others = [each.on(case_of(modality)) for each in methods()["path"] if each.node is not Bridge]
    return next(path for path in (Rectified(), *others) if solver is None or not solver.supports(path))


def case_on(modality: str, path: NoisePath) -> Case:
    return case_of(modality, "" if isinstance(path, GaussianPath) and not isinstance(path, Bridge) else path.kind)


def sampled(modality: str, *tried: Method) -> State:
    """Three rows made with these methods, which hold to what they must. Errors: `Refused`; `AssertionError`."""
    what, chosen = " + ".join(f"{each.family} {each.kind}" for each in tried), {each.family: each for each in tried}
    kinds = frozenset(each.name for each in tried)
    path = path_of(modality, chosen)
    case = case_on(modality, path)
    made, done = made_by(case, path, chosen, [0, 1, 2])
    for stream in made.streams.values():
        assert stream.values.isfinite().all(), f"{what}: not finite"
    if not kinds & OF_A_BATCH:
        alone, _ = made_by(case, path, chosen, [1])
        for stream, own in ((made[key], alone[key]) for key in made.streams):
            valid = own.mask[0]
            apart = (own.values[0][valid] - stream.values[1, : len(valid)][valid]).abs().amax(-1)
            near = apart <= TOGETHER * (1 + own.values[0][valid].abs().amax(-1))
            assert near.all(), f"{what}: a row alone is {float(apart.max()):.3g} from itself in a batch"
    for each in tried:
        unsure = each.family == "energy" and len(tried) > 1  # what searches may choose the same by another one
        if (
            each.family in CHANGING
            and each.name not in IDLE
            and kinds not in TOUCHLESS
            and not unsure
            and _matters(case, path, chosen, each)
        ):
            without, _ = made_by(case, path, chosen, [0, 1, 2], left_out=each.family)
            others = any(not torch.equal(made[key].values, without[key].values) for key in made.streams)
            # Tokens that are drawn may be the same ones with other probabilities.
            counted = {"rule": ClassifierFree.kind, "annealing": ClassifierFree.kind}.get(each.family, each.name)
            drawn = not isinstance(path, GaussianPath) and done.get(counted, Receipt(counted)).counts.get("changed")
            assert others or drawn, f"{what}: {each.kind} did nothing"
        if each.family in COUNTING and each.name not in IDLE and kinds not in TOUCHLESS:
            assert sum(done.get(each.name, Receipt(each.name)).counts.values()) > 0, f"{what}: {each.kind} does not say what it did"
    assert "best_of" not in chosen or done["best-of"].counts["candidates"], f"{what}: no candidates"
    case.tokenizer.decode(made)
    return made


@dataclass(frozen=True)
class Assembled:
    """A request's numbers, and what prepares its rows."""

    sampling: Sampling
    editor: Editor | None = None
    correction: Consistent | None = None
    """One that goes by what was measured, which no editor measures for it."""


def _assembled(case: Case, path: NoisePath, chosen: Chosen, left_out: str = "") -> Assembled:
    """The methods put together, without those of one family; those that are a part of another are so in a plain one."""
    there: dict[str, Any] = {family: each.on(case) for family, each in chosen.items() if family not in (left_out, "path", "denoiser")}
    several = {"rule", "annealing"} & set(chosen) or ("hook" in chosen and chosen["hook"].node is AttentionFrom)
    guided = ClassifierFree() if several else Unguided()
    guidance: Guidance = there.get("guidance", guided)
    guidance = guidance.model_copy(update={part: there[part] for part in ("rule", "annealing") if part in there})
    paths = {spec.name: case.path(spec, path) for spec in case.tokenizer.specs}
    plain = Ancestral() if guidance.follows_noise() else _solver(list(paths.values()))
    solver, correction, best_of = there.get("solver", plain), there.get("correction"), there.get("best_of")
    corrections = [correction] if correction else []
    energy: Energy | None = there.get("energy")
    if energy and isinstance(solver, ValueSearch):
        solver = solver.model_copy(update={"energy": energy})
    elif energy and isinstance(correction, EnergyGuidance):
        corrections = [correction.model_copy(update={"energy": energy})]
    elif energy and (best_of or not energy.differentiable):
        best_of = BestOf(count=2, energy=energy)
    elif energy:
        corrections.append(EnergyGuidance(energy=energy, stream=case.stage.stream, through=False))
    editor, goes_by = there.get("editor"), correction if isinstance(correction, Consistent) else None
    if "measurement" in there:
        editor = Inverse(measurement=there["measurement"], **({} if goes_by is None else {"method": type(goes_by)()}))
        corrections = [each for each in corrections if each is not goes_by]
    made = [spec for spec in case.tokenizer.specs if not spec.given]
    others = [spec.name for spec in made if solver.refuses(spec)]
    sampling = Sampling(
        steps=STEPS,
        schedule=there.get("schedule", Uniform()),
        solver=solver,
        guidance=guidance,
        hooks=(there["hook"],) if "hook" in there else (),
        corrections=tuple(corrections),
        best_of=best_of,
        streams={name: StreamSampling(solver=plain) for name in others if len(others) < len(made)},
    )
    return Assembled(sampling, editor, None if "measurement" in there else goes_by)


def _matters(case: Case, path: NoisePath, chosen: Chosen, each: Method) -> bool:
    """Whether the request is another one without it: it may be what a part of it is tried in anyway."""
    return _assembled(case, path, chosen) != _assembled(case, path, chosen, each.family)


def made_by(case: Case, path: NoisePath, chosen: Chosen, rows: Sequence[int], left_out: str = "") -> tuple[State, dict[str, Receipt]]:
    """The rows of a trial, and what its methods say they did. Errors: `Refused`."""
    told = "denoiser" in chosen
    denoiser = case.denoiser(path, told=told)
    try:
        what = _assembled(case, path, chosen, left_out)
    except ValidationError as error:
        raise Refused(_words(error)) from error
    others = {other: case.denoiser(path, seed=1, told=told) for other in what.sampling.guidance.denoisers()}
    classifiers = {name: case.classifier(name, path) for name in what.sampling.classifiers()}
    generator = RowGenerator(denoiser, what.sampling, False, others, case.tokenizer.decode, classifiers)
    seeds = torch.tensor([SEEDS[row] for row in rows])
    asked = [case.asked[row] for row in rows]
    try:
        if what.editor is None:
            edit = Edit(_layout(case, rows))
        else:
            given = [case.samples[row] for row in rows]
            ends = given[:2] if isinstance(what.editor, Interpolate) else given
            edit = what.editor.edit(case.tokenizer, ends, seeds, generator, asked)
        known = edit.known or Known()
        if what.correction is not None and not known.measured:
            known = replace(known, measured=_measured(case, what.correction, rows, edit.state))
        if edit.noised:
            generator = RowGenerator(denoiser, what.sampling, True, others, case.tokenizer.decode, classifiers)
        finished = list(generator.stream(edit.state, asked, edit.begin, known, edit.sampling))
    except ValueError as error:
        raise Refused(str(error)) from error
    made = gathered(finished, edit.state).state
    for key, stream in made.streams.items():
        given = edit.state[key]
        assert torch.equal(stream.values[given.keep], given.values[given.keep]), "what is kept has changed"
    return made, receipts(finished)


def _layout(case: Case, rows: Sequence[int]) -> State:
    """Room for rows as large as the samples are, so that what is measured of those fits; streams that are always given, given."""
    state = case.tokenizer.encode([case.samples[row] for row in rows])
    state = State.of(state.streams, [SEEDS[row] for row in rows])
    return state.with_values({spec.name: torch.zeros_like(state[spec.name].values) for spec in case.tokenizer.specs if not spec.given})


def _solver(paths: Sequence[NoisePath]) -> Solver:
    """The plain one of the paths' kind."""
    plain = [DDIM(), *(each.node() for each in methods()["solver"] if not issubclass(each.node, ValueSearch))]
    return next(solver for solver in plain if isinstance(solver, Solver) and not any(solver.supports(path) for path in paths))


def _measured(case: Case, correction: Consistent, rows: Sequence[int], room: State) -> dict[str, dict[str, torch.Tensor]]:
    """Half of each sample, measured, as far as the rows have room for it: what no prediction is by itself."""
    measurement = correction.measurement
    state = case.tokenizer.encode([case.samples[row] for row in rows])
    found: dict[str, dict[str, torch.Tensor]] = {}
    for spec in case.tokenizer.specs:
        if measurement.measures(spec):
            if measurement.refuses(spec):
                raise Refused(f"{measurement.refuses(spec)} (correction '{correction.kind}')")
            there = room[spec.name]
            halved = 0.5 * state[spec.name].values[:, : there.shape[1]] * there.mask[..., None]
            found[spec.name] = {"y": measurement.apply(halved, Layout.of(there, spec))}
    return found


def perceived(modality: str, *tried: Method) -> torch.Tensor:
    """What a small network knows of three samples: finite, of each as of it alone, not of all the same. Errors: as `sampled`."""
    what, chosen = " + ".join(f"{each.family} {each.kind}" for each in tried), {each.family: each for each in tried}
    path = path_of(modality, chosen)
    case = case_on(modality, path)
    denoiser, node = case.denoiser(path, told="denoiser" in chosen), chosen["perception"].on(case)
    try:
        found = known_of(case, denoiser, node, [0, 1, 2])
    except ValueError as error:
        raise Refused(str(error)) from error
    assert found.isfinite().all(), f"{what}: not finite"
    torch.testing.assert_close(known_of(case, denoiser, node, [1])[0], found[1], atol=1e-3, rtol=1e-3)
    assert len(found.flatten(1).unique(dim=0)) > 1, f"{what}: says the same of all"
    return found


def known_of(case: Case, denoiser: Denoiser, node: Any, rows: Sequence[int]) -> torch.Tensor:
    """`(rows, numbers)`."""
    state = encoded(case.tokenizer, [case.samples[row] for row in rows], torch.tensor([SEEDS[row] for row in rows]))
    asked = [case.asked[row] for row in rows]
    match node:
        case LikelihoodMetric():
            some = encoded(case.tokenizer, case.samples[:3], torch.tensor(SEEDS[:3]))
            begin = begins(denoiser, some, denoiser.conditions(case.asked[:3]))
            return log_likelihood(denoiser, state, denoiser.conditions(asked), node.steps, node.probes, node.exact, begin).nats[:, None]
        case DiffusionClassifier():
            candidates = [{node.condition: value} for value in case.stage.conditions[node.condition]]
            return denoising_errors(denoiser, state, [{}] * len(rows), candidates, node.draws, node.weight)
        case Probe():
            tokens = token_features(denoiser, state, [{}] * len(rows), node.block, node.time, part=node.part)
            return sample_features(tokens, torch.cat([state[spec.name].mask for spec in denoiser.specs], 1))
    raise AssertionError(f"no trial of {node.kind}")


def trained(modality: str, *tried: Method) -> None:
    """The loss of a batch with all of them: finite, with a gradient, and (where rows are independent) each row's as alone.

    Errors: `Refused`; `AssertionError`.
    """
    what, chosen = " + ".join(f"{each.family} {each.kind}" for each in tried), {each.family: each for each in tried}
    path = path_of(modality, chosen)
    case = case_on(modality, path)
    denoiser = deepcopy(case.denoiser(path, told="denoiser" in chosen)).requires_grad_(True)
    parts = {FIELDS.get(family, family): each.on(case) for family, each in chosen.items() if family not in ("path", "denoiser")}
    try:
        objective = _objective(case, path, parts)
        refusals = objective.refusals(denoiser.specs)
    except ValidationError as error:
        raise Refused(_words(error)) from error
    if refusals:
        raise Refused("; ".join(refusals))
    clean = State.of(case.tokenizer.encode(case.samples[:4]).streams, [11, 12, 13, 14])
    asked = case.asked[:4]
    losses = objective.loss(denoiser, clean, denoiser.conditions(asked), 3)
    assert losses.isfinite().all(), f"{what}: not finite"
    losses.sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in denoiser.parameters()), f"{what}: nothing is learnt"
    if not {each.name for each in tried} & OF_A_BATCH:
        alone = objective.loss(denoiser, clean.select([2]), denoiser.conditions(asked[2:3]), 3)
        torch.testing.assert_close(alone[0], losses[2], atol=1e-4, rtol=1e-3)


def _objective(case: Case, path: NoisePath, parts: Mapping[str, Any]) -> Objective:
    if not isinstance(path, Bridge):
        return Objective(path=path, prediction=prediction_on(path), **parts)
    bridges = {name: each for name, each in case.corruptions(path).items() if isinstance(each.path, Bridge)}
    streams = {name: StreamObjective(path=each.path, prediction=each.prediction) for name, each in bridges.items()}
    return Objective(path=Rectified(), prediction="velocity", streams=streams, **parts)


def neutral(modality: str, node: type[Node]) -> None:
    """With its neutral settings a method changes nothing, bit for bit. Errors: `Refused`; `AssertionError`."""
    tried = of_node(node, settings=node.neutral)
    chosen = {tried.family: tried} if tried.family in SAMPLING else {}
    path = path_of(modality, chosen)
    case = case_on(modality, path)
    if tried.family in SAMPLING:
        still, plain = tried.on(case), chosen
        if isinstance(still, Around):
            inner = still.solver
            settings = {name: getattr(inner, name) for name in type(inner).model_fields}
            plain = {"solver": Method("solver", inner.kind, type(inner), settings=settings)}
        elif tried.family == "rule":
            plain = {"rule": of_node(LinearRule)}
        before, _ = made_by(case, path, plain, [0, 1, 2], left_out="" if plain is not chosen else tried.family)
        same, said = made_by(case, path, chosen, [0, 1, 2])
        assert tried.family not in ("guidance", "correction") or node.kind not in said, f"{node.kind} says that it did something"
        assert all(torch.equal(before[key].values, same[key].values) for key in before.streams), (
            f"{node.kind} {node.neutral} is not neutral"
        )
        return
    denoiser, prediction = case.denoiser(path), prediction_on(path)
    clean = State.of(case.tokenizer.encode(case.samples[:4]).streams, [11, 12, 13, 14])
    condition = denoiser.conditions(case.asked[:4])
    plain, same = (
        Objective(path=path, prediction=prediction, **parts).loss(denoiser, clean, condition, 3)
        for parts in ({}, {FIELDS.get(node.family, node.family): tried.on(case)})
    )
    assert torch.equal(plain, same), f"{node.kind} {node.neutral} is not neutral"


def verdict(modality: str, *tried: Method) -> str:
    """`works`, or `refused: …`. Errors: `AssertionError` where a law is broken, or a method does nothing."""
    families = {each.family for each in tried}
    try:
        (perceived if "perception" in families else sampled if families <= set(SAMPLING) else trained)(modality, *tried)
    except Refused as refusal:
        return f"refused: {' '.join(str(refusal).split())}"
    return "works"


def page() -> str:
    """The table, in Markdown."""
    names = list(RECIPES)
    lines = [
        "# What works with what",
        "",
        "Made by `python tests/every_method.py`, which tries each cell; `make test` tries two modalities again, `make check`",
        "all. ✓: rows alone are as in their batch, kept tokens come back bit for bit, guidance, hooks and",
        "corrections have changed something, and the result decodes. A number: the",
        "program refuses it there before anything is made, for the reason below. No plugin has code for any of these methods. Paths of a",
        "vocabulary or of bits, and their solvers, are tried on each modality's tokens through `levels` and `bits`. Each pair of methods:",
        "[methods/pairs.md](methods/pairs.md); what each method is: [methods/catalogue.md](methods/catalogue.md).",
        "",
        "| method | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    reasons: dict[str, int] = {}
    for family, own in methods().items():
        for tried in sorted(own, key=lambda tried: tried.kind):
            cells = []
            for name in names:
                said = verdict(name, tried)
                cells.append("✓" if said == "works" else str(reasons.setdefault(said.removeprefix("refused: "), len(reasons) + 1)))
            lines.append(f"| {family} `{tried.kind}` | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("error")
    PAGE.write_text(page())
