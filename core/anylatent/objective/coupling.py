"""Which prior tokens belong to which clean ones."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent import random
from anylatent.lazy import torch
from anylatent.node import Node
from anylatent.types import Bool, Float, Int, Tensor

if TYPE_CHECKING:
    from anylatent.condition import Condition
    from anylatent.state import State


@dataclass(frozen=True)
class Meeting:
    """Clean rows that are given prior tokens.

    `made`: by stream, which tokens `(B, N)` are there and not given. `prior(stream, noise)`: prior tokens of standard normal
    noise. `condition`: what the rows are asked to be, if anything.
    """

    clean: "State"
    made: Mapping[str, Bool[Tensor, "rows tokens"]]
    prior: Callable[[str, Tensor], Tensor]
    condition: "Condition | None"
    step: int

    def drawn(self, draw: int) -> dict[str, Tensor]:
        """The prior tokens of this draw, by stream, from each row's own seed."""
        return {name: self.prior(name, self.clean.noise(name, self.step, draw)) for name in self.made}


class Coupling(Node, family="coupling"):
    """Which prior tokens belong to which clean ones."""

    alone: ClassVar[bool] = True
    """Whether a row's prior tokens are a function of that row alone."""
    gaussian: ClassVar[bool] = False
    """Whether it needs prior tokens of which distances to the data mean something."""
    made: ClassVar[bool] = False
    """Whether it needs clean tokens that were made, in rows of the seeds that they were made with."""

    def seldom(self, asked: Sequence[Mapping[str, Any]], batch: int) -> str | None:
        """What a person should know if it does little in batches of rows that are asked these things, or None."""
        return None

    def prior(self, meeting: Meeting) -> dict[str, Tensor]:
        """The prior tokens x1 of each stream, of the shape of its values."""
        raise NotImplementedError


class Independent(Coupling, kind="independent"):
    """Noise that knows nothing of the data."""

    neutral: ClassVar[Mapping[str, Any] | None] = {}

    def prior(self, meeting: Meeting) -> dict[str, Tensor]:
        return meeting.drawn(0)


_SELDOM = 0.5
"""The share of rows with someone to change noise with under which a person should know of it."""


class Nearest(Coupling, kind="nearest"):
    """Of several draws of noise, the one nearest to the data (Li et al. 2025, 2505.18521: immiscible diffusion by k-NN).

    A row's choice is its own. The noise that training sees is no longer quite normal: keep `candidates` small. 1:
    `independent`.
    """

    neutral: ClassVar[Mapping[str, Any] | None] = {"candidates": 1}
    gaussian: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("Immiscible Diffusion, k-NN (2505.18521)",)

    candidates: int = Field(default=4, ge=1, description="Draws to choose from.")

    def prior(self, meeting: Meeting) -> dict[str, Tensor]:
        chosen = meeting.drawn(0)
        least = _distances(meeting, chosen)
        for draw in range(1, self.candidates):
            other = meeting.drawn(draw)
            distance = _distances(meeting, other)
            nearer = distance < least
            chosen = {name: torch.where(nearer[:, None, None], other[name], x) for name, x in chosen.items()}
            least = torch.minimum(least, distance)
        return chosen


class OptimalTransport(Coupling, kind="optimal-transport"):
    """Noise is assigned within the batch so that the whole distance is least (Pooladian et al. 2023, 2304.14772).

    Straighter paths (also Tong et al. 2023, 2302.00482); immiscible diffusion is the same (Li et al. 2024, 2406.12303). Only
    rows of one condition and the same tokens change noise with each other: across conditions the noise of a class would
    no longer be normal, which ruins conditional samples. All streams of a row go together.

    Which noise a row has depends on its batch: the one exception to "alone = together". On several devices each assigns
    its own rows.
    """

    alone: ClassVar[bool] = False
    gaussian: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = (
        "Multisample Flow Matching (2304.14772)", "OT-CFM (2302.00482)", "Immiscible Diffusion, assignment (2406.12303)",
    )  # fmt: skip

    def seldom(self, asked: Sequence[Mapping[str, Any]], batch: int) -> str | None:
        values = Counter(repr(sorted(row.items(), key=str)) for row in asked)
        # A row finds a partner unless none of the others of its batch, which are other samples, is asked the same.
        others = max(1, len(asked) - 1)
        share = sum(n / len(asked) * (1 - (1 - (n - 1) / others) ** (batch - 1)) for n in values.values())
        if share > _SELDOM:
            return None
        return (
            f"coupling '{self.kind}' exchanges noise between rows that are asked the same: in a batch of {batch}, {share:.0%} of the rows "
            f"find such another, for {len(asked):,} samples have {len(values):,} different conditions"
        )

    def prior(self, meeting: Meeting) -> dict[str, Tensor]:
        drawn = meeting.drawn(0)
        order = torch.arange(len(meeting.clean), device=meeting.clean.device)
        for group in _alike(meeting):
            if len(group) > 1:
                rows = torch.tensor(group, device=order.device)
                order[rows] = rows[assignment(_costs(meeting, drawn, rows)).to(order.device)]
        return {name: x[order] for name, x in drawn.items()}


class Stored(Coupling, kind="stored"):
    """The noise that each sample was made of: reflow (Liu et al. 2022, 2209.03003, algorithm 1).

    For clean tokens that a denoiser made, whose row ids are the seeds they were made with: those of a recipe's `start.pairs`. A
    second training on such pairs has straighter paths; `u-shaped` times suit it. The solver must have made the tokens out of
    their noise alone.
    """

    made: ClassVar[bool] = True
    systems: ClassVar[tuple[str, ...]] = ("Rectified flow, reflow (2209.03003)", "2-rectified flow++ (2405.20320)")

    def prior(self, meeting: Meeting) -> dict[str, Tensor]:
        shapes = {name: stream.shape for name, stream in meeting.clean.streams.items()}
        seeds = meeting.clean.rows
        return {name: meeting.prior(name, random.normal(seeds, name, -1, 0, *shapes[name][1:])) for name in meeting.made}


def _distances(meeting: Meeting, drawn: Mapping[str, Tensor]) -> Float[Tensor, " rows"]:
    """The squared distance between each row's tokens and its noise."""
    parts = [
        ((meeting.clean[name].values - noise).square().sum(-1) * meeting.made[name]).sum(1, dtype=torch.float64)
        for name, noise in drawn.items()
    ]
    return torch.stack(parts).sum(0)


def _costs(meeting: Meeting, drawn: Mapping[str, Tensor], rows: Int[Tensor, " some"]) -> Float[Tensor, "some some"]:
    """The squared distance between tokens of one row and noise of another, without what a row pays anyway: -2 x0 . x1 and |x1|^2."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for name, noise in drawn.items():
        made = meeting.made[name][rows].double()
        clean, noise = meeting.clean[name].values[rows].double() * made[..., None], noise[rows].double()
        total += made @ noise.square().sum(-1).T - 2 * clean.flatten(1) @ noise.flatten(1).T
    return total


def _alike(meeting: Meeting) -> list[list[int]]:
    """Rows that may change noise with each other: of equal conditions, with tokens in the same places."""
    clean, condition = meeting.clean, meeting.condition
    parts = [stream.mask for stream in clean.streams.values()]
    if condition is not None:
        parts.append(condition.vector)
        for tokens in (condition.cross, condition.prepend):
            parts += [] if tokens is None else [tokens.values.flatten(1), tokens.mask]
    keys = [part.detach().cpu().contiguous().numpy() for part in parts]
    groups: dict[bytes, list[int]] = {}
    for row in range(len(clean)):
        groups.setdefault(b"".join(key[row].tobytes() for key in keys), []).append(row)
    return list(groups.values())


def assignment(costs: Float[Tensor, "rows rows"]) -> Int[Tensor, " rows"]:
    """The permutation p for which the sum of `costs[i, p[i]]` is least.

    Shortest augmenting paths (Kuhn 1955; Jonker & Volgenant 1987, without their initialisation): one search a row, in n
    vector operations at most.
    """
    import numpy as np

    cost = costs.cpu().double().numpy()
    n = len(cost)
    dual_row, dual_column = np.zeros(n + 1), np.zeros(n + 1)
    owner = np.full(n + 1, -1)  # of a column; the last column is where a search begins
    for row in range(n):
        owner[n], at = row, n
        least, before, done = np.full(n, np.inf), np.full(n, n), np.zeros(n + 1, dtype=bool)
        while owner[at] >= 0:
            done[at] = True
            slack = cost[owner[at]] - dual_row[owner[at]] - dual_column[:n]
            nearer = ~done[:n] & (slack < least)
            least[nearer], before[nearer] = slack[nearer], at
            following = int(np.where(done[:n], np.inf, least).argmin())
            step = least[following]
            dual_row[owner[done]] += step
            dual_column[done] -= step
            least[~done[:n]] -= step
            at = following
        while at != n:
            owner[at] = owner[before[at]]
            at = before[at]
    found = torch.empty(n, dtype=torch.long)
    found[torch.from_numpy(owner[:n])] = torch.arange(n)
    return found
