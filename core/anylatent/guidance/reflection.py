"""Weak-to-strong reflection: down by a strong prediction, up again by a weak one, and down once more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.guidance.around import Around, Heard, labelled, labelled_as
from anylatent.guidance.base import Branch, Guidance, Variant
from anylatent.guidance.none import Unguided
from anylatent.lazy import torch
from anylatent.moment import Here, Moment
from anylatent.paths.base import Path, not_gaussian
from anylatent.schedules.rising import Reflected
from anylatent.types import Bool, Float, Tensor

if TYPE_CHECKING:
    from anylatent.schedules.base import Schedule


class Reflection(Around, kind="reflection"):
    """Reflection: steps by a strong prediction are undone by a weak one, and made again from where that leads.

    x_t -> x_s by `inner`, x_s -> x~_t by DDIM's inversion under `weak`, and on from x~_t (the reflective operation of Bai et al. 2025,
    2502.00473): to first order in the step x~_t is x_t moved by the difference of the two scores. `weak` is any guidance: a lower scale
    (Z-Sampling: Bai et al. 2024, 2412.10891), or another denoiser alone, `{kind: compose, entries: [{model: trained@500}]}`. With
    `weak` as strong as `inner` a sample is what it was, up to the error of DDIM's inversion.
    """

    example: ClassVar[Mapping[str, Any]] = {"inner": {"kind": "classifier-free", "scale": 3.0}}
    neutral: ClassVar[Mapping[str, Any] | None] = {"inner": {"kind": "none"}, "repeats": 0}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "inner + share * repeats * (2 + inner + weak)"}
    systems: ClassVar[tuple[str, ...]] = ("W2SD (2502.00473)", "Z-Sampling (2412.10891)")

    inner: Guidance = Field(default=Unguided(), description="The strong prediction, on the way down.")
    weak: Guidance = Field(default=Unguided(), description="The weak one, on the way up.")
    share: float = Field(default=0.5, gt=0, le=1, description="How many of the steps, from the first, are reflected: one at least.")
    repeats: int = Field(default=1, ge=0, description="How often each of them is. 0: never.")

    def within(self) -> Sequence[Guidance]:
        return (self.inner, self.weak) if self.repeats else (self.inner,)

    def supports(self, path: Path) -> str | None:
        return super().supports(path) or (not_gaussian(path, f"guidance '{self.kind}' goes up along") if self.repeats else None)

    def variants(self) -> Mapping[str, Variant]:
        weak = self.weak.variants() if self.repeats else {}
        return dict(self.inner.variants()) | {f"{_WEAK}:{name}": variant for name, variant in weak.items()}

    def course(self, schedule: "Schedule", steps: int) -> "Schedule":
        schedule = super().course(schedule, steps)
        return Reflected(of=schedule, steps=max(1, round(self.share * steps)), repeats=self.repeats) if self.repeats else schedule

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        weak = self.weak.memory(x) if self.repeats else {}
        return self.inner.memory(x) | {f"{_WEAK}:{name}": value for name, value in weak.items()}

    def branches(self) -> set[str]:
        return self.inner.branches() | ({f"{_WEAK}:{name}" for name in self.weak.branches()} if self.repeats else set())

    def asks_again(self) -> bool:
        return any(each.asks_again() for each in self.within())

    def plan(self, moment: Moment) -> Sequence[Branch]:
        if moment.rising is None:
            return self.inner.plan(moment)
        return self._split(moment.rising, self.inner.plan(moment), self.weak.plan(moment))

    def follow(self, predictions: Mapping[str, Mapping[str, Tensor]], here: Mapping[str, Here]) -> Sequence[Branch]:
        rising = next(iter(here.values())).moment.rising
        if rising is None:
            return self.inner.follow(predictions, here)
        asking = next(iter(here.values())).rows
        down, up = ({name: _of(each, rows, label) for name, each in here.items()} for rows, label in ((~rising, ""), (rising, _WEAK)))
        strong = self.inner.follow(_strong(predictions), down) if (asking & ~rising).any() else []
        weak = self.weak.follow(labelled_as(_WEAK, predictions), up) if (asking & rising).any() else []
        return self._split(rising, strong, weak)

    def combine(self, predictions: Mapping[str, Tensor], here: Here) -> Tensor:
        rising = here.moment.rising
        if rising is None:
            return self.inner.combine(predictions, here)
        data = torch.zeros_like(here.x)
        for guidance, rows, label in ((self.inner, ~rising, ""), (self.weak, rising, _WEAK)):
            if not (own := _of(here, rows, label)).rows.any():  # what nobody asks about was not predicted
                continue
            said = labelled_as(label, predictions) if label else _strong(predictions)
            data = torch.where(own.rows[:, None, None], guidance.combine(said, own), data)
            _remember(here, own, label)
        return data

    def _split(self, rising: Bool[Tensor, " rows"], strong: Sequence[Branch], weak: Sequence[Branch]) -> list[Branch]:
        """Branches of both, each for its own rows."""
        both = [(each, ~rising) for each in strong] + [(labelled(_WEAK, each), rising) for each in weak]
        return [replace(each, rows=rows if each.rows is None else rows & each.rows) for each, rows in both]


_WEAK = "weak"


def _strong(predictions: Mapping[str, Heard]) -> dict[str, Heard]:
    return {name: each for name, each in predictions.items() if not name.startswith(f"{_WEAK}:")}


def _of(here: Here, rows: Bool[Tensor, " rows"], label: str = "") -> Here:
    """What one of the two guidances is told: of its own rows, and its own memory."""
    memory = labelled_as(label, here.memory) if label else _strong(here.memory)
    return replace(here, rows=here.rows & rows, memory=memory)


def _remember(here: Here, own: Here, label: str = "") -> None:
    """What one of the two remembers, of its own rows."""
    for name, value in own.memory.items():
        known = f"{label}:{name}" if label else name
        here.memory[known] = torch.where(own.rows.reshape(-1, *[1] * (value.dim() - 1)), value, here.memory[known])
