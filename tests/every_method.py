"""Every method on every modality, tried: the matrix that the tests run and that `docs/compatibility.md` shows.

`python tests/every_method.py` writes the page again.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from anylatent.build import build_denoiser, build_tokenizer, condition_values
from anylatent.components import core_components
from anylatent.conditioners.standard import ClassConfig
from anylatent.corrections.base import Correction
from anylatent.denoiser import Corruption, Denoiser
from anylatent.editing.base import Editor
from anylatent.engine import Request, sample
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.without_streams import WithoutStreams
from anylatent.hooks.base import Hook
from anylatent.hooks.residual_cache import ResidualCache
from anylatent.node import Node
from anylatent.paths.base import Path as NoisePath
from anylatent.recipe import load
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.schedules import Schedule
from anylatent.solvers.base import Solver
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.backbones import shaken
from anylatent.testing.metrics import Listed
from anylatent.tokenizers.base import Tokenizer

ROOT = Path(__file__).parents[1]
RECIPES = {path.parent.name: path for path in sorted((ROOT / "recipes").glob("*/smoke.yaml"))}
PAGE = ROOT / "docs" / "compatibility.md"
FAMILIES = (Solver, Schedule, NoisePath, Guidance, Hook, Correction, Editor)
PREDICTIONS = {"edm": "preconditioned"}
TOGETHER = 2e-3
"""How far values of a row in a batch may be from those alone: several steps of float32, of tokens of size 1 to 10."""


@dataclass(frozen=True)
class Case:
    """A modality's smoke recipe, a tokenizer fitted to some of its samples, and what those are asked to be."""

    recipe: Recipe
    tokenizer: Tokenizer
    samples: list[Any]
    asked: list[dict[str, Any]]

    def denoiser(self, path: NoisePath | None = None) -> Denoiser:
        """A small transformer whose weights do something."""
        torch.manual_seed(0)
        recipe = self.recipe.model_copy(update={"denoiser": self.recipe.denoiser.model_copy(update={"depth": 1, "width": 32, "heads": 2})})
        values = {name: [row.get(name) for row in self.asked] for name in recipe.conditions}
        denoiser = build_denoiser(recipe, self.tokenizer.specs, values)
        path = path or recipe.objective.path
        prediction: Any = PREDICTIONS.get(path.kind, "velocity")
        denoiser.corruptions = {spec.name: Corruption(path, prediction) for spec in self.tokenizer.specs}
        shaken(denoiser, size=0.05)
        return denoiser.eval().requires_grad_(False)


@cache
def case_of(modality: str) -> Case:
    """The first samples of its smoke recipe's data."""
    recipe = load(RECIPES[modality])
    train = recipe.modality.data.build("train")
    records = [train[i] for i in range(min(24, len(train)))]
    if not recipe.conditions:  # guidance is tried everywhere
        name = next(name for name, value in records[0].conditions.items() if isinstance(value, int | str))
        recipe = recipe.model_copy(update={"conditions": {name: ClassConfig()}})
    asked = condition_values(recipe, Listed(records))
    tokenizer = build_tokenizer(recipe, records[0].sample)
    samples = [record.sample for record in records]
    tokenizer.prepare(samples)
    tokenizer.eval().requires_grad_(False).fit(samples)
    return Case(recipe, tokenizer, samples, asked)


def methods() -> Iterator[tuple[type[Node], type[Node]]]:
    """Every method of core, with its family. A plugin's editors are for its own modality."""
    for family in FAMILIES:
        for node in core_components():
            if node.family == family.family:
                yield family, node


def trials(modality: str, family: type[Node], node: type[Node]) -> Iterator[tuple[Denoiser, Request]]:
    """The requests that show a method at work on a modality: three rows each. None: it refuses the modality by name."""
    case = case_of(modality)
    if family is Editor:
        yield from _edits(case, node)
        return
    denoiser = case.denoiser(node() if family is NoisePath else None)
    if family is Solver:
        paths = [path() for path in core_components() if path.family == NoisePath.family]
        for path in paths:
            if not node().supports(path):  # type: ignore[attr-defined]
                yield _request(case, case.denoiser(path), Sampling(steps=4, solver=node()))  # type: ignore[arg-type]
    elif family is Schedule:
        yield _request(case, denoiser, Sampling(steps=4, schedule=node()))  # type: ignore[arg-type]
    elif family is Hook:
        yield _request(case, denoiser, Sampling(steps=6, hooks=(_reusing(node),)))
    elif family is Correction:
        yield _request(case, denoiser, Sampling(steps=4, corrections=(node(limit=1.0),)))  # type: ignore[call-arg]
    elif family is Guidance:
        for guidance in _guidances(case.tokenizer.specs, node):
            yield _request(case, denoiser, Sampling(steps=4, guidance=guidance))
    else:
        yield _request(case, denoiser, Sampling(steps=4))


def _guidances(specs: tuple[StreamSpec, ...], node: type[Node]) -> Iterator[Guidance]:
    if node is WithoutStreams:
        yield from (WithoutStreams(scale=2.0, absent=(spec.name,)) for spec in specs if len(specs) > 1)
    else:
        yield ClassifierFree(scale=2.0) if node is ClassifierFree else node()  # type: ignore[misc]


def _reusing(node: type[Node]) -> Hook:
    """With a threshold that lets every step that may be reused be."""
    return ResidualCache(threshold=1e6) if node is ResidualCache else node()  # type: ignore[return-value]


def _edits(case: Case, node: type[Node]) -> Iterator[tuple[Denoiser, Request]]:
    for editor in _editors(case.tokenizer.specs, node):
        state = editor.start(case.tokenizer, case.samples[:3], torch.tensor([5, 6, 7]))
        yield _request(case, case.denoiser(), Sampling(steps=4), state)


def _editors(specs: tuple[StreamSpec, ...], node: type[Node]) -> Iterator[Editor]:
    """Half of the first axis (of a set: of its elements) anew; of several streams, each given."""
    if node.kind == "masked-completion":
        axes = [axis.name for spec in specs if not spec.given for axis in spec.axes]
        yield node(anew={axes[0]: (0.5, 1.0)}) if axes else node()  # type: ignore[call-arg]
    elif node.kind == "given-parts" and len([spec for spec in specs if not spec.given]) > 1:
        for spec in specs:
            yield node(given=(spec.name,))  # type: ignore[call-arg]
            yield node(absent=(spec.name,))  # type: ignore[call-arg]


def _request(case: Case, denoiser: Denoiser, sampling: Sampling, state: State | None = None) -> tuple[Denoiser, Request]:
    seeds, asked = torch.tensor([5, 6, 7]), case.asked[:3]
    state = case.tokenizer.layout(seeds, asked) if state is None else state
    null = denoiser.conditions.null(3) if case.recipe.conditions else None
    return denoiser, Request(state, denoiser.conditions(asked), sampling, null)


def try_out(denoiser: Denoiser, request: Request) -> State:
    """Sample three rows; what they must hold to, they do, or this raises `AssertionError`."""
    made, receipts = sample(denoiser, request)
    for row in (0, 2):
        one = Request(
            request.state.select([row]), request.condition.select(torch.tensor([row])), request.sampling,
            None if request.null is None else request.null.select(torch.tensor([row])), noised=request.noised,
        )  # fmt: skip
        alone, _ = sample(denoiser, one)
        for name, stream in alone.streams.items():
            valid = stream.mask[0]
            together = made[name].values[row, : len(valid)][valid]
            torch.testing.assert_close(stream.values[0][valid], together, atol=TOGETHER, rtol=TOGETHER)
    for name, stream in made.streams.items():
        assert stream.values.isfinite().all()
        given = request.state[name]
        assert torch.equal(stream.values[given.keep], given.values[given.keep]), "what is kept has changed"
        new = given.mask & ~given.keep & (given.time < 1) & torch.tensor(not _spec(denoiser, name).given)
        assert not new.any() or stream.values[new].abs().max() > 0, "nothing was made"
    for hook in request.sampling.hooks:
        assert receipts[hook.kind].counts.get("reused", 1) > 0, "the hook did nothing"
    return made


def _spec(denoiser: Denoiser, name: str) -> StreamSpec:
    return next(spec for spec in denoiser.specs if spec.name == name)


def verdict(modality: str, family: type[Node], node: type[Node]) -> str:
    """`✓ n` requests tried and held, or why the method is not for this modality."""
    held = 0
    for denoiser, request in trials(modality, family, node):
        case_of(modality).tokenizer.decode(try_out(denoiser, request))
        held += 1
    return f"✓ {held}" if held else "one stream"


def page() -> str:
    """The table, in Markdown."""
    names = list(RECIPES)
    lines = [
        "# What works with what",
        "",
        "Made by `python tests/every_method.py`, which tries each cell; `make test` tries them again. A cell says how many requests were",
        "sampled there (a solver: one a noise path that it supports; an editor: one a region or stream). In each, rows alone are as in",
        "their batch, kept tokens come back bit for bit, a hook has done something, and the result decodes. No plugin has code for any",
        "of these methods. *one stream*: the method is about several.",
        "",
        "| method | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for family, node in methods():
        lines.append(f"| {family.family} `{node.kind}` | " + " | ".join(verdict(name, family, node) for name in names) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("error")
    PAGE.write_text(page())
