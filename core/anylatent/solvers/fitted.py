"""A solver whose numbers were fitted to what many steps make."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field, model_validator

from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath
from anylatent.solvers.base import Multistep
from anylatent.solvers.exponential import columns
from anylatent.types import Float, Tensor

_NEAR = 1e-5
"""How far times may be from those of the fit: they are printed with this many digits."""


class Fitted(Multistep, kind="fitted"):
    """Optimal linear subspaces (OLSS-P): each step is the best linear combination of where a row is and of all its predictions.

    x_{k+1} = a x_k + b_0 d_k + ... + b_k d_0, with numbers that bring x_{k+1} nearest, in least squares, to where many steps would
    have gone (Duan et al. 2023, 2305.14677; OLSS proper searches the times too, which here is `anylatent schedule`, before). They
    belong to a denoiser, its guidance and `times`, and are data: `anylatent solver RUN --steps N` finds them and prints the node. A
    schedule of other times, or one whose rows or tokens have times of their own, is refused; in an edit, which begins in between, it
    is `dpm++2m`, as it is without `rows`.
    """

    order: ClassVar[int] = 2
    systems: ClassVar[tuple[str, ...]] = ("OLSS-P, the times searched apart (2305.14677)",)

    times: tuple[float, ...] = Field(default=(), description="The times that it was fitted for, from the first to 0; empty: none.")
    rows: tuple[tuple[float, ...], ...] = Field(
        default=(), description="Of each step: a, then b of the newest prediction, of the one before, …"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Fitted":
        if len(self.times) != (len(self.rows) + 1 if self.rows else 0):
            raise ValueError(f"{len(self.rows)} steps have {len(self.rows) + 1} times, given {len(self.times)}")
        if self.times and (self.times[-1] != 0 or any(later >= earlier for earlier, later in pairwise(self.times))):
            raise ValueError(f"the times of a fit fall to 0, given {list(self.times)}")
        for k, row in enumerate(self.rows):
            if not 2 <= len(row) <= k + 2:
                raise ValueError(
                    f"step {k + 1} of a fit has 2 to {k + 2} numbers (a, and a b for each prediction so far), given {len(row)}"
                )
        return self

    @property
    def history(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return max(1, len(self.rows) - 1)

    @property
    def cold(self) -> int:
        return 2

    def refuses_times(self, times: Float[Tensor, " times"] | None) -> str | None:
        if not self.times or (times is not None and self._is_for(times)):
            return None
        # A table has two knots or more; one step visits the first alone.
        knots = ", ".join(f"{t:g}" for t in (self.times[:-1] if len(self.rows) > 1 else (self.times[0], self.times[0] / 2)))
        return (
            f"solver 'fitted' was fitted for other times: use it with `steps: {len(self.rows)}` and "
            f"`schedule: {{kind: table, unit: time, knots: [{knots}]}}`"
        )

    def _is_for(self, times: Tensor) -> bool:
        own = torch.tensor(self.times, dtype=torch.float64)
        return times.shape == own.shape and bool((times.cpu() - own).abs().max() <= _NEAR)

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        first = columns(path, times, 2, line="bh2")[:-1]  # those of dpm++2m
        found = torch.stack([*first, *[torch.zeros_like(first[0])] * (self.history - 1)], -1)
        if self.rows and self._is_for(times):
            found = torch.zeros_like(found)
            for k, row in enumerate(self.rows):
                found[k, : len(row)] = torch.tensor(row, dtype=found.dtype)
        return list(found.unbind(-1))
