"""Solvers whose steps can be undone exactly, whatever the denoiser says: for editing, and for finding a sample's noise."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.paths.base import Path, as_gaussian
from anylatent.solvers.base import LOWEST, Memory, Move, Query, Solver, Steps, WayBack
from anylatent.solvers.exponential import linear
from anylatent.types import Float, Tensor


class _Invertible(Solver):
    """What both share: a second copy of the tokens, an end where the noise is not yet 0, and twice the digits.

    A step shrinks the noise, so its way back magnifies what was rounded. So both copies are moved in double; memory keeps what the
    tokens themselves had to be rounded by. The denoiser is asked about the rounded ones, the same ones on both ways.
    """

    way_back: ClassVar[WayBack] = "exact"

    last: float = Field(default=LOWEST, gt=0, le=1, description="The noise-to-signal ratio at which it ends, short of t = 0.")

    def end(self, path: Path) -> float:
        return float(as_gaussian(path).time_of(torch.tensor(self.last, dtype=torch.float64)))

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> Memory:
        """The other copy, what it and the tokens were rounded by; and whence it is: 0 from nowhere, 1 from a step, 2 from a way back."""
        return {name: torch.zeros_like(x) for name in ("other", "rest", "other_rest")} | {"whence": torch.zeros_like(x[:, :1, :1])}

    def _copies(self, x: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """The tokens and the other copy, in double."""
        return _joined(x, memory["rest"]), _joined(memory["other"], memory["other_rest"])

    def _kept(self, x: Tensor, other: Tensor, memory: Memory, whence: int) -> tuple[Tensor, Memory]:
        """The tokens and memory, rounded to what memory has."""
        (x, rest), (other, other_rest) = _parted(x, memory["rest"]), _parted(other, memory["rest"])
        return x, {"other": other, "rest": rest, "other_rest": other_rest, "whence": torch.full_like(memory["whence"], whence)}


def _joined(x: Tensor, rest: Tensor) -> Tensor:
    precise = x.dtype if x.device.type == "mps" else torch.float64
    return x.to(precise) + rest.to(precise)


def _parted(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    rounded = x.to(like.dtype)
    return rounded, (x - rounded.to(x.dtype)).to(like.dtype)


def _stale(memory: Memory, first: Tensor) -> Tensor:
    """Where memory is of other tokens: before any step, or in the first step of a table that begins after new noise."""
    return (memory["whence"] == 0) | ((first > 0) & (memory["whence"] == 1))


class BDIA(_Invertible, kind="bdia"):
    """Bi-directional integration approximation: DDIM's move, plus `gamma` of what its move back missed the last tokens by.

    x_s = D(t -> s) + gamma (x_before - D(t -> before)), with D from (x_t, d): linear in x_before, which can so be found from x_s and
    x_t (Zhang et al. 2023, 2307.10829, eq. 14 to 18). The first step is DDIM's plus `gamma` times what memory holds: nothing, or
    what an inversion left there. A way back that knows only the last tokens begins with DDIM's inversion.
    """

    systems: ClassVar[tuple[str, ...]] = ("BDIA (2307.10829)",)

    gamma: float = Field(default=0.5, gt=0, le=1, description="1: second order, and nothing grows on the way back; less: steadier.")

    @property
    def order(self) -> int:
        return 2 if self.gamma == 1 else 1

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        """First or not; a and b of x_s = a x_t + b d + gamma x_before; those of DDIM's step alone."""
        path = as_gaussian(path)
        a, b, _ = linear(path, times)
        first = torch.cat((torch.ones_like(a[:1]), torch.zeros_like(a[1:])))
        back_a, back_b, _ = linear(path, torch.stack((times[1:-1], times[:-2])))
        back_a, back_b = (torch.cat((torch.zeros_like(a[:1]), back[0])) for back in (back_a, back_b))
        return torch.stack((first, a - self.gamma * back_a, b - self.gamma * back_b, a, b), -1)

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        d = yield Query(x, move.t)
        first, a, b, _, _ = (column[..., None] for column in move.table.unbind(-1))
        here, before = self._copies(x, memory)
        moved = a * here + b * d + self.gamma * torch.where(_stale(memory, first), 0.0, before)
        return self._kept(moved, here, memory, 1)

    def unstep(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        _, a, b, plain_a, plain_b = (column[..., None] for column in move.table.unbind(-1))
        here, there = self._copies(x, memory)
        unknown = memory["whence"] == 0
        if unknown.any():
            d = yield Query(x, move.s, unknown.flatten())
            there = torch.where(unknown, (here - plain_b * d) / plain_a, there)
        d = yield Query(there.to(x.dtype), move.t)
        return self._kept(there, (here - a * there - b * d) / self.gamma, memory, 2)


class EDICT(_Invertible, kind="edict"):
    """Exact diffusion inversion by coupled transformations: two copies that move each other by turns, then mix.

    x' = a x + b d(y), y' = a y + b d(x'), x = p x' + (1 - p) y', y = p y' + (1 - p) x (Wallace et al. 2022, 2211.12446, eq. 13 and 14).
    Every line can be undone. The copies begin equal; the second is asked about at the time of the first.
    """

    order: ClassVar[int] = 1
    calls: ClassVar[int] = 2
    systems: ClassVar[tuple[str, ...]] = ("EDICT (2211.12446)",)

    mix: float = Field(default=0.93, gt=0.5, le=1, description="p: how much of itself a copy keeps in a step.")

    def table(self, path: Path, times: Float[Tensor, "times *tokens"]) -> Float[Tensor, "steps *tokens numbers"]:
        """First or not; a and b of DDIM's step."""
        a, b, _ = linear(as_gaussian(path), times)
        return torch.stack((torch.cat((torch.ones_like(a[:1]), torch.zeros_like(a[1:]))), a, b), -1)

    def step(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        first, a, b = (column[..., None] for column in move.table.unbind(-1))
        p, (one, two) = self.mix, self._copies(x, memory)
        two = torch.where(_stale(memory, first), one, two)
        one = a * one + b * (yield Query(two.to(x.dtype), move.t))
        two = a * two + b * (yield Query(one.to(x.dtype), move.t))
        one = p * one + (1 - p) * two
        return self._kept(one, p * two + (1 - p) * one, memory, 1)

    def unstep(self, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move) -> Steps:
        _, a, b = (column[..., None] for column in move.table.unbind(-1))
        p, (one, two) = self.mix, self._copies(x, memory)
        two = torch.where(memory["whence"] == 0, one, two)
        two = (two - (1 - p) * one) / p
        one = (one - (1 - p) * two) / p
        two = (two - b * (yield Query(one.to(x.dtype), move.t))) / a
        one = (one - b * (yield Query(two.to(x.dtype), move.t))) / a
        return self._kept(one, two, memory, 2)
