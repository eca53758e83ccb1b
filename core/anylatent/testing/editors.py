"""What every editor must hold to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.editing.base import Edit, Editor
from anylatent.engine import Request, sample
from anylatent.generation import RowGenerator, gathered
from anylatent.known import Made
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.state import State
from anylatent.testing.backbones import shaken
from anylatent.tokenizers.base import Tokenizer
from anylatent.types import Tensor


@dataclass
class EditorCase:
    """An editor, and samples with a fitted tokenizer that it can edit: two or more, of several sizes if the modality is ragged."""

    editor: Editor
    tokenizer: Tokenizer
    samples: Sequence[Any]
    refused: Sequence[tuple[Editor, str]] = ()
    """The same kind, with settings that must be refused for these samples, and what is said then (a regular expression):

    nothing kept, everything kept, no such axis …
    """

    def denoiser(self) -> Denoiser:
        """A small DiT whose weights do something, over the tokenizer's streams."""
        specs = self.tokenizer.specs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = DiTConfig(depth=1, width=32, heads=2).build(specs, cross=False)
        denoiser = Denoiser(backbone, Conditions(32, {}), {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
        shaken(denoiser, size=0.1)
        return denoiser.eval().requires_grad_(False)


class EditorContract:
    """Subclass it and give one fixture:

    class TestMine(EditorContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return EditorCase(MyEditor(keep=0.5), tokenizer, samples=[...], refused=[(MyEditor(keep=1), "nothing is left to make")])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls, case: EditorCase) -> Denoiser:
        return case.denoiser()

    def _start(self, case: EditorCase, seeds: list[int], given: Sequence[Any] | None = None) -> State:
        return case.editor.start(case.tokenizer, list(case.samples if given is None else given), torch.tensor(seeds))

    def _edited(self, denoiser: Denoiser, state: State, noised: bool) -> State:
        condition = denoiser.conditions.null(len(state))
        return sample(denoiser, Request(state, condition, Sampling(steps=4), noised=noised))[0]

    def test_it_starts_from_the_given_samples(self, case: EditorCase) -> None:
        """A row a seed, the samples in turn; kept tokens hold what the tokenizer makes of them."""
        count = 2 * len(case.samples)
        state = self._start(case, list(range(count)))
        assert state.seeds.tolist() == list(range(count))
        clean = case.tokenizer.encode([case.samples[i % len(case.samples)] for i in range(count)])
        for name, stream in state.streams.items():
            assert torch.equal(stream.values[stream.keep], clean[name].values[stream.keep])
            assert not (stream.keep & ~stream.mask).any(), "padding is kept"
        kept, valid = (torch.stack([getattr(s, part).sum(1) for s in state.streams.values()]).sum(0) for part in ("keep", "mask"))
        assert ((kept > 0) & (kept < valid)).all(), "in each row something is kept and something is made anew"

    @pytest.mark.parametrize("noised", [False, True], ids=["completing", "any denoiser"])
    def test_kept_tokens_come_back_and_the_others_are_new(self, case: EditorCase, denoiser: Denoiser, noised: bool) -> None:
        """Through the engine, bit for bit, whether the denoiser has learned to complete or not; another seed, another rest."""
        state, other = self._start(case, [0, 1, 2]), self._start(case, [0, 1, 7])
        made, also = self._edited(denoiser, state, noised), self._edited(denoiser, other, noised)
        for name, stream in state.streams.items():
            assert torch.equal(made[name].values[stream.keep], stream.values[stream.keep])
            anew = stream.mask & ~stream.keep
            for row in anew.any(1).nonzero()[:, 0].tolist():
                difference = (made[name].values - stream.values)[row][anew[row]].abs().amax(-1)
                assert (difference > 1e-4).all(), "a token that is not kept came back"
                same = (made[name].values[row] - also[name].values[row]).abs().max() < 1e-5
                assert same == (row < 2), "the rest is made by the row's seed"

    def test_rows_are_alone_together(self, case: EditorCase, denoiser: Denoiser) -> None:
        seeds = list(range(len(case.samples)))
        together = self._start(case, seeds)
        made = self._edited(denoiser, together, noised=False)
        for row, given in enumerate(case.samples):
            alone = self._start(case, [row], [given])
            edited = self._edited(denoiser, alone, noised=False)
            for name, stream in alone.streams.items():
                tokens = stream.shape[1]
                assert torch.equal(stream.keep[0], together[name].keep[row, :tokens]), "what is kept depends on the other rows"
                torch.testing.assert_close(edited[name].values[0], made[name].values[row, :tokens], atol=1e-5, rtol=0)

    def test_edited_samples_can_be_decoded(self, case: EditorCase, denoiser: Denoiser) -> None:
        made = self._edited(denoiser, self._start(case, [0, 1]), noised=False)
        assert len(case.tokenizer.decode(made)) == 2

    def test_what_makes_no_sense_is_refused(self, case: EditorCase) -> None:
        assert case.refused, "give `refused`: settings that keep nothing, or everything"
        for editor, says in case.refused:
            with pytest.raises(ValueError, match=says):
                editor.start(case.tokenizer, list(case.samples), torch.tensor([0, 1]))

    def test_nothing_given_is_refused(self, case: EditorCase) -> None:
        with pytest.raises(ValueError, match="given"):
            self._start(case, [0], [])


class Counted(Denoiser):
    """Counts, in rows, how often it is asked, and how often what it said is differentiated."""

    calls = 0
    gradients = 0

    def forward(self, state: State, *rest: Any) -> dict[str, Tensor]:
        self.calls += len(state)
        clean = super().forward(state, *rest)
        for x in clean.values():
            if x.requires_grad:
                x.register_hook(self._differentiated)
        return clean

    def _differentiated(self, slope: Tensor) -> None:
        self.gradients += int(slope.flatten(1).any(1).sum())


@dataclass
class EditingCase:
    """An editor that says what to do in `edit`, and samples with a fitted tokenizer that it can edit: of several sizes, if they can be."""

    editor: Editor
    tokenizer: Tokenizer
    samples: Sequence[Any]
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What rows are asked to be; the conditions are "label" 0 to 2."""
    other: Mapping[str, Any] = field(default_factory=lambda: {"label": 0})
    """What else they could be asked to be, which makes others."""
    refused: Sequence[tuple[Editor, str]] = ()
    """The same kind, with settings that must be refused for these samples, and what is said then (a regular expression)."""
    comes_back: float | None = None
    """How near the given samples come back, in tokens, if they are what is asked for; None: they do not."""
    sampling: Sampling = field(default_factory=lambda: Sampling(steps=5))
    together: float = 1e-5
    """How far a row alone may be from itself in a batch."""
    by_row: bool = True
    """Whether a row is a function of its sample and seed alone."""
    by_seed: bool = True
    """Whether other seeds make others: not, where a sample is inverted without noise, or made again of the very noise that was found."""

    def generator(self) -> RowGenerator:
        """A small DiT whose weights do something, over the tokenizer's streams."""
        specs = self.tokenizer.specs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = DiTConfig(depth=2, width=32, heads=2).build(specs, cross=False)
            conditions = Conditions(32, {"label": ClassConfig().build(32, [0, 1, 2])})
        denoiser = Counted(backbone, conditions, {spec.name: Corruption(Rectified(), "velocity") for spec in specs})
        shaken(denoiser, size=0.1)
        return RowGenerator(denoiser.eval().requires_grad_(False), self.sampling, noised=False)


def edited(
    generator: RowGenerator, editor: Editor, tokenizer: Tokenizer, given: list[Any], seeds: list[int], asked: Mapping[str, Any]
) -> State:
    """What an editor makes of given samples, all the way."""
    return carried_out(generator, editor, tokenizer, given, seeds, asked)[1].state


def carried_out(
    generator: RowGenerator, editor: Editor, tokenizer: Tokenizer, given: list[Any], seeds: list[int], asked: Mapping[str, Any]
) -> tuple[Edit, Made]:
    """Where an editor lets rows begin, and what comes of it, with what it cost."""
    conditions = [dict(asked) for _ in seeds]
    edit = editor.edit(tokenizer, given, torch.tensor(seeds), generator, conditions)
    if edit.noised is not None:
        generator = RowGenerator(generator.denoiser, generator.sampling, edit.noised, generator.others)
    return edit, gathered(list(generator.stream(edit.state, conditions, edit.begin, edit.known, edit.sampling)), edit.state)


def counted(case: EditingCase, generator: RowGenerator) -> tuple[Edit, Made, dict[str, float]]:
    """Where the rows of a case begin, what is made, and how often the denoiser is asked and differentiated for it."""
    denoiser, seeds = generator.denoiser, list(range(len(case.samples)))
    assert isinstance(denoiser, Counted)
    before = (denoiser.calls, denoiser.gradients)
    edit, made = carried_out(generator, case.editor, case.tokenizer, list(case.samples), seeds, case.asked)
    counts = {"network_calls": denoiser.calls - before[0], "gradients": denoiser.gradients - before[1]}
    return edit, made, {name: count for name, count in counts.items() if count}


class EditingContract:
    """Subclass it and give one fixture:

    class TestMine(EditingContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return EditingCase(MyEditor(strength=0.5), tokenizer, samples=[...])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditingCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, case: EditingCase) -> RowGenerator:
        return case.generator()

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, case: EditingCase, generator: RowGenerator) -> tuple[Edit, Made, dict[str, float]]:
        return counted(case, generator)

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, done: tuple[Edit, Made, dict[str, float]]) -> State:
        return done[1].state

    def test_its_receipt_is_what_it_cost(self, done: tuple[Edit, Made, dict[str, float]]) -> None:
        """Every call of the denoiser, that of an inversion too, and every backward pass."""
        _, made, counts = done
        said = {name: float(counts.sum()) for name, counts in made.spent["engine"].items() if name in ("network_calls", "gradients")}
        assert said == counts

    def test_kept_tokens_come_back_bit_for_bit(self, done: tuple[Edit, Made, dict[str, float]]) -> None:
        edit, made, _ = done
        for name, stream in edit.state.streams.items():
            assert torch.equal(made.state[name].values[stream.keep], stream.values[stream.keep])

    def test_seeds_and_conditions_do_something(self, case: EditingCase, generator: RowGenerator, made: State) -> None:
        """Another seed makes another sample (or the same, where it says so), and so does another thing asked, in every row."""
        seeds = list(range(len(case.samples)))
        others = {
            "seed": (case.by_seed, edited(generator, case.editor, case.tokenizer, list(case.samples), [7 + s for s in seeds], case.asked)),
            "condition": (True, edited(generator, case.editor, case.tokenizer, list(case.samples), seeds, case.other)),
        }
        for what, (changes, other) in others.items():
            apart = torch.stack([
                (other[name].values - stream.values).abs().amax((1, 2)) for name, stream in made.streams.items()
            ]).amax(0)  # fmt: skip
            assert bool((apart > 1e-3).all() if changes else (apart < 1e-5).all()), f"another {what}: rows are {apart.tolist()} apart"

    def test_samples_are_made_and_can_be_decoded(self, case: EditingCase, made: State) -> None:
        for stream in made.streams.values():
            assert stream.values.isfinite().all()
            assert not stream.values[~stream.mask].any(), "something stands in the padding"
        assert len(case.tokenizer.decode(made)) == len(case.samples)

    def test_given_samples_come_back_or_change(self, case: EditingCase, made: State) -> None:
        """As near as was said; else what is not kept is new."""
        clean = case.tokenizer.encode(list(case.samples))
        for spec in case.tokenizer.specs:
            if spec.given:
                assert torch.equal(made[spec.name].values, clean[spec.name].values)
                continue
            apart = (made[spec.name].values - clean[spec.name].values).abs().amax((1, 2))
            assert (apart > 1e-3).all() if case.comes_back is None else (apart <= case.comes_back).all()

    def test_the_same_again(self, case: EditingCase, generator: RowGenerator, made: State) -> None:
        seeds = list(range(len(case.samples)))
        again = edited(generator, case.editor, case.tokenizer, list(case.samples), seeds, case.asked)
        for name, stream in made.streams.items():
            assert torch.equal(again[name].values, stream.values)

    def test_rows_are_alone_together(self, case: EditingCase, generator: RowGenerator, made: State) -> None:
        if not case.by_row:
            return
        for row in {0, len(case.samples) - 1}:
            alone = edited(generator, case.editor, case.tokenizer, [case.samples[row]], [row], case.asked)
            for name, stream in alone.streams.items():
                tokens = stream.shape[1]
                torch.testing.assert_close(stream.values[0], made[name].values[row, :tokens], atol=case.together, rtol=0)

    def test_what_makes_no_sense_is_refused(self, case: EditingCase, generator: RowGenerator) -> None:
        for editor, says in case.refused:
            with pytest.raises(ValueError, match=says):
                edited(generator, editor, case.tokenizer, list(case.samples), [0, 1], case.asked)
