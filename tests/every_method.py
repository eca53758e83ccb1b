"""Every method on every modality, tried: what the tests run and what `docs/compatibility.md` shows.

`python tests/every_method.py` writes the page again. A method is sampled (or trained a step) with tiny networks. Either the program
refuses it, with a reason, before anything is made; or rows alone are as in their batch, what is kept comes back, all is finite, the
result decodes, and guidance, hooks and corrections have changed something.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from anylatent.build import build_denoiser, build_tokenizer, condition_values
from anylatent.components import core_components
from anylatent.conditioners.standard import ClassConfig
from anylatent.corrections.base import Correction
from anylatent.denoiser import Corruption, Denoiser
from anylatent.editing.base import Edit
from anylatent.engine import receipts
from anylatent.generation import RowGenerator, gathered
from anylatent.joint.tokenizers import JointConfig, LabelConfig
from anylatent.known import Known
from anylatent.measurements.base import Layout
from anylatent.node import Components, Node
from anylatent.objective import Objective
from anylatent.paths.base import GaussianPath
from anylatent.paths.base import Path as NoisePath
from anylatent.recipe import load
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.schedules import Uniform
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM
from anylatent.state import Receipt, State
from anylatent.testing.backbones import shaken
from anylatent.testing.metrics import Listed
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.tokenizers.levels import BitsConfig, LevelsConfig

ROOT = Path(__file__).parents[1]
RECIPES = {path.parent.name: path for path in sorted((ROOT / "recipes").glob("*/smoke.yaml"))}
PAGE = ROOT / "docs" / "compatibility.md"
SAMPLING = ("path", "schedule", "solver", "guidance", "hook", "correction", "editor")
TRAINING = ("path", "times", "weighting", "loss", "coupling")
CHANGING = ("guidance", "hook", "correction")
"""Families whose methods must have changed something, unless they were refused."""
FIELDS = {"loss": "error"}
"""What an objective calls a family, where that is another name."""
OF_A_FILE = {"direction", "stored"}
"""Methods that need a file or a finished run: tried in their own tests."""
OF_A_BATCH = {"interpolate", "optimal-transport"}
"""Methods in which a row is what it is by the others: so they say."""
IDLE = {"none", "attention-received", "attention-from"}
"""Methods that are there to do nothing, to be read, or to take from a branch that only some others make."""
TOUCHLESS = {frozenset({"windows", "perturb-attention"}), frozenset({"without-streams", "perturb-attention"})}
"""Pairs of which one takes away what the other acts on: where tokens do not mix, it does not matter who sees whom."""
STEPS = 6
SEEDS = [5, 6, 7]
TOGETHER = 1e-4
"""How far values of a row in a batch may be from those alone, beside 1 and their size: the most of any pair is 1.3e-5."""
KNOWN = Components(core_components())


class Refused(Exception):
    """The program does not do this, and says why."""


@cache
def methods() -> dict[str, list[Node]]:
    """The methods of each family that a recipe can name: one of each kind, at work."""
    found: dict[str, list[Node]] = {}
    for node in core_components():
        if node.family in (*SAMPLING, *TRAINING) and not node.python_only and node.kind not in OF_A_FILE:
            built = node.model_validate({"kind": node.kind, **node.example}, context={"components": KNOWN})
            found.setdefault(node.family, []).append(built)
    return found


@dataclass(frozen=True)
class Case:
    """A modality's smoke recipe, a tokenizer fitted to some of its samples, and what those are asked to be."""

    recipe: Recipe
    tokenizer: Tokenizer
    samples: list[Any]
    asked: list[dict[str, Any]]

    def denoiser(self, path: NoisePath, seed: int = 0) -> Denoiser:
        """A small transformer whose weights do something. Errors: `Refused` for a path that cannot carry the streams."""
        for spec in self.tokenizer.specs:
            if path.refuses(spec):
                raise Refused(path.refuses(spec))
        recipe = self.recipe.model_copy(update={"denoiser": self.recipe.denoiser.model_copy(update={"depth": 2, "width": 32, "heads": 2})})
        values = {name: [row.get(name) for row in self.asked] for name in recipe.conditions}
        objective = recipe.objective.model_copy(update={"path": path, "prediction": prediction_on(path), "streams": {}})
        denoiser = build_denoiser(recipe.model_copy(update={"objective": objective}), self.tokenizer.specs, values)
        denoiser.corruptions = {spec.name: Corruption(path, prediction_on(path)) for spec in self.tokenizer.specs}
        shaken(denoiser, seed, size=0.05 if isinstance(path, GaussianPath) else 0.2)
        return denoiser.eval().requires_grad_(False)


def prediction_on(path: NoisePath) -> Any:
    """What the small networks predict there."""
    usual = "preconditioned" if path.kind == "edm" else "velocity"
    return usual if usual in path.predictions else path.predictions[0]


@cache
def case_of(modality: str, kind: str = "") -> Case:
    """The first samples of its smoke recipe's data; with its tokens as a vocabulary or bits for a discrete path of some kind.

    Errors: `Refused` if its tokens cannot be those.
    """
    recipe = load(RECIPES[modality])
    if kind:
        recipe = recipe.model_copy(update={"tokenizer": _discrete(recipe.tokenizer, kind)})
    train = recipe.modality.data.build("train")
    records = [train[i] for i in range(min(24, len(train)))]
    if not recipe.conditions:  # guidance is tried everywhere
        name = next(name for name, value in records[0].conditions.items() if isinstance(value, int | str))
        recipe = recipe.model_copy(update={"conditions": {name: ClassConfig()}})
    asked = condition_values(recipe, Listed(records))
    samples = [record.sample for record in records]
    try:
        tokenizer = build_tokenizer(recipe, records[0].sample)
        tokenizer.prepare(samples)
        tokenizer.eval().requires_grad_(False).fit(samples)
    except ValueError as error:
        if not kind:
            raise
        raise Refused(str(error)) from error
    return Case(recipe, tokenizer, samples, asked)


def _discrete(tokenizer: TokenizerConfig, kind: str) -> TokenizerConfig:
    """A tokenizer whose tokens are those of another, as a vocabulary or bits."""
    if isinstance(tokenizer, JointConfig):
        return JointConfig(parts={name: _discrete(part, kind) for name, part in tokenizer.parts.items()})
    if kind == "masked":
        return LabelConfig(classes=10) if isinstance(tokenizer, LabelConfig) else LevelsConfig(inner=tokenizer, levels=5)
    if kind == "uniform-state":
        return LevelsConfig(inner=tokenizer, levels=5, prior="uniform")
    return BitsConfig(inner=tokenizer, bits=2)


@dataclass(frozen=True)
class Setting:
    """What a trial is made with; None where a family is left out."""

    path: Any = None
    schedule: Any = None
    solver: Any = None
    guidance: Any = None
    hook: Any = None
    correction: Any = None
    editor: Any = None

    @staticmethod
    def of(nodes: Sequence[Node]) -> "Setting":
        return Setting(**{node.family: node for node in nodes})

    def paths(self) -> NoisePath:
        """Its path, or one that its solver moves along."""
        gaussian = methods()["path"][0] if self.path is None else self.path
        if self.path is None:
            plain = [node for node in methods()["path"] if node.kind == "rectified"] + methods()["path"]
            gaussian = next(node for node in plain if self.solver is None or not self.solver.supports(node))
        return gaussian


def sampled(modality: str, *nodes: Node) -> State:
    """Three rows made with these methods, which hold to what they must. Errors: `Refused`; `AssertionError`."""
    what, setting = " + ".join(f"{node.family} {node.kind}" for node in nodes), Setting.of(nodes)
    case = _case(modality, setting.paths())
    made, done = _made(case, setting, [0, 1, 2])
    for stream in made.streams.values():
        assert stream.values.isfinite().all(), f"{what}: not finite"
    if not {node.kind for node in nodes} & OF_A_BATCH:
        alone, _ = _made(case, setting, [1])
        for stream, own in ((made[key], alone[key]) for key in made.streams):
            valid = own.mask[0]
            apart = (own.values[0][valid] - stream.values[1, : len(valid)][valid]).abs().amax(-1)
            near = apart <= TOGETHER * (1 + own.values[0][valid].abs().amax(-1))
            assert near.all(), f"{what}: a row alone is {float(apart.max()):.3g} from itself in a batch"
    for node in nodes:
        if node.family in CHANGING and node.kind not in IDLE and frozenset(each.kind for each in nodes) not in TOUCHLESS:
            without, _ = _made(case, replace(setting, **{node.family: None, "path": setting.paths()}), [0, 1, 2])
            assert any(not torch.equal(made[key].values, without[key].values) for key in made.streams), f"{what}: {node.kind} did nothing"
            assert sum(done.get(node.kind, Receipt(node.kind)).counts.values()) > 0, f"{what}: {node.kind} does not say what it did"
    case.tokenizer.decode(made)
    return made


def _case(modality: str, path: NoisePath) -> Case:
    return case_of(modality, "" if isinstance(path, GaussianPath) else path.kind)


def _made(case: Case, setting: Setting, rows: Sequence[int]) -> tuple[State, dict[str, Receipt]]:
    """The rows of a setting, and what its methods say they did. Errors: `Refused`."""
    denoiser = case.denoiser(setting.paths())
    sampling = Sampling(
        steps=STEPS,
        schedule=setting.schedule or Uniform(),
        solver=setting.solver or _solver(denoiser),
        guidance=setting.guidance or Sampling().guidance,
        hooks=(setting.hook,) if setting.hook else (),
        corrections=(setting.correction,) if setting.correction else (),
    )
    others = {other: case.denoiser(setting.paths(), seed=1) for other in sampling.guidance.denoisers()}
    generator = RowGenerator(denoiser, sampling, False, others)
    seeds = torch.tensor([SEEDS[row] for row in rows])
    asked = [case.asked[row] for row in rows]
    try:
        if setting.editor is None:
            edit = Edit(_layout(case, rows))
        else:
            edit = setting.editor.edit(case.tokenizer, [case.samples[row] for row in rows], seeds, generator, asked)
        known = edit.known or Known()
        if setting.correction is not None and not known.measured:
            known = replace(known, measured=_measured(case, setting.correction, rows))
        generator = generator if not edit.noised else RowGenerator(denoiser, sampling, True, others)
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


def _solver(denoiser: Denoiser) -> Solver:
    """The plain one of the paths' kind."""
    paths = [denoiser.path(spec.name) for spec in denoiser.specs]
    plain = [DDIM(), *(node for node in methods()["solver"] if isinstance(node, Solver))]
    return next(solver for solver in plain if not any(solver.supports(path) for path in paths))


def _measured(case: Case, correction: Correction, rows: Sequence[int]) -> dict[str, dict[str, torch.Tensor]]:
    """Half of each sample, measured: what no prediction is by itself."""
    measurement = getattr(correction, "measurement", None)
    if not correction.measures or measurement is None:
        return {}
    state = case.tokenizer.encode([case.samples[row] for row in rows])
    found: dict[str, dict[str, torch.Tensor]] = {}
    for spec in case.tokenizer.specs:
        if measurement.measures(spec):
            if measurement.refuses(spec):
                raise Refused(f"{measurement.refuses(spec)} (correction '{correction.kind}')")
            found[spec.name] = {"y": measurement.apply(0.5 * state[spec.name].values, Layout.of(state[spec.name], spec))}
    return found


def trained(modality: str, *nodes: Node) -> None:
    """The loss of a batch with all of them: finite, with a gradient, and (where rows are independent) each row's as alone.

    Errors: `Refused`; `AssertionError`.
    """
    what, parts = " + ".join(f"{node.family} {node.kind}" for node in nodes), {FIELDS.get(node.family, node.family): node for node in nodes}
    path: Any = parts.get("path", Setting().paths())
    case = _case(modality, path)
    denoiser = case.denoiser(path).requires_grad_(True)
    try:
        objective = Objective(**({"path": path, "prediction": prediction_on(path)} | parts))
        refusals = objective.refusals(denoiser.specs)
    except ValidationError as error:
        raise Refused("; ".join(each["msg"] for each in error.errors())) from error
    if refusals:
        raise Refused("; ".join(refusals))
    clean = State.of(case.tokenizer.encode(case.samples[:4]).streams, [11, 12, 13, 14])
    asked = case.asked[:4]
    losses = objective.loss(denoiser, clean, denoiser.conditions(asked), 3)
    assert losses.isfinite().all(), f"{what}: not finite"
    losses.sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in denoiser.parameters()), f"{what}: nothing is learnt"
    if not {node.kind for node in nodes} & OF_A_BATCH:
        alone = objective.loss(denoiser, clean.select([2]), denoiser.conditions(asked[2:3]), 3)
        torch.testing.assert_close(alone[0], losses[2], atol=1e-4, rtol=1e-3)


def neutral(modality: str, node: type[Node]) -> None:
    """With its neutral settings a method changes nothing, bit for bit. Errors: `Refused`; `AssertionError`."""
    still = node.model_validate({"kind": node.kind, **node.example, **(node.neutral or {})}, context={"components": KNOWN})
    setting = Setting.of([still]) if node.family in SAMPLING else Setting()
    path = setting.paths()
    case = _case(modality, path)
    if node.family in SAMPLING:
        plain, _ = _made(case, replace(setting, **{node.family: None, "path": path, "editor": None}), [0, 1, 2])
        same, said = _made(case, setting, [0, 1, 2])
        assert node.family not in ("guidance", "correction") or node.kind not in said, f"{node.kind} says that it did something"
        assert all(torch.equal(plain[key].values, same[key].values) for key in plain.streams), f"{node.kind} {node.neutral} is not neutral"
        return
    denoiser, prediction = case.denoiser(path), prediction_on(path)
    clean = State.of(case.tokenizer.encode(case.samples[:4]).streams, [11, 12, 13, 14])
    condition = denoiser.conditions(case.asked[:4])
    plain, same = (
        Objective(path=path, prediction=prediction, **parts).loss(denoiser, clean, condition, 3)
        for parts in ({}, {FIELDS.get(node.family, node.family): still})
    )
    assert torch.equal(plain, same), f"{node.kind} {node.neutral} is not neutral"


def verdict(modality: str, *nodes: Node) -> str:
    """`works`, or `refused: …`. Errors: `AssertionError` where a law is broken, or a method does nothing."""
    try:
        (sampled if all(node.family in SAMPLING for node in nodes) else trained)(modality, *nodes)
    except Refused as refusal:
        return f"refused: {' '.join(str(refusal).split())}"
    return "works"


def page() -> str:
    """The table, in Markdown."""
    names = list(RECIPES)
    lines = [
        "# What works with what",
        "",
        "Made by `python tests/every_method.py`, which tries each cell; `make test` tries them again. ✓: rows alone are as in their batch,",
        "kept tokens come back bit for bit, guidance, hooks and corrections have changed something, and the result decodes. A number: the",
        "program refuses it there before anything is made, for the reason below. No plugin has code for any of these methods. Paths of a",
        "vocabulary or of bits, and their solvers, are tried on each modality's tokens through `levels` and `bits`. Each pair of methods:",
        "[methods/pairs.md](methods/pairs.md); what each method is: [methods/catalogue.md](methods/catalogue.md).",
        "",
        "| method | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    reasons: dict[str, int] = {}
    for family, nodes in methods().items():
        for node in sorted(nodes, key=lambda node: node.kind):
            cells = []
            for name in names:
                said = verdict(name, node)
                cells.append("✓" if said == "works" else str(reasons.setdefault(said.removeprefix("refused: "), len(reasons) + 1)))
            lines.append(f"| {family} `{node.kind}` | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("error")
    PAGE.write_text(page())
