"""How a row goes through its times: by its solver where they fall, by noise or inversion where they rise, not at all where they rest."""

from collections.abc import Generator
from dataclasses import replace

import torch

from anylatent.paths.base import Path
from anylatent.solvers.base import Memory, Move, Query, Solver, Steps
from anylatent.solvers.ddim import DDIM
from anylatent.types import Bool, Float, Tensor


def solver_table(solver: Solver, path: Path, times: Float[Tensor, "rows times #tokens"]) -> Float[Tensor, "rows steps #tokens numbers"]:
    """The numbers of every step of every row (and token): each falling piece of its times is a table of its own.

    Numbers of steps that rise or rest are 0; they are not used.
    """
    rows, count, tokens = times.shape
    columns, which = torch.unique(times.transpose(1, 2).reshape(rows * tokens, count), dim=0, return_inverse=True)
    tables = torch.stack([_column(solver, path, column) for column in columns])
    return tables[which].unflatten(0, (rows, tokens)).transpose(1, 2)


def _column(solver: Solver, path: Path, times: Float[Tensor, " times"]) -> Float[Tensor, "steps numbers"]:
    piece: list[int] = []
    parts: list[tuple[list[int], Tensor]] = []

    def close() -> None:
        if piece:
            numbers = solver.table(path, torch.stack([*(times[i] for i in piece), times[piece[-1] + 1]]))
            parts.append((list(piece), numbers))
            piece.clear()

    for i, change in enumerate(times.diff().tolist()):
        if change > 0:
            close()
        elif change < 0:
            piece.append(i)
    close()
    width = parts[0][1].shape[-1] if parts else 0
    out = times.new_zeros(len(times) - 1, width)
    for steps, numbers in parts:
        out[steps] = numbers
    return out


def moved(
    solver: Solver, x: Float[Tensor, "rows tokens width"], memory: Memory, move: Move, *, rests: bool, reflects: bool, inverted: bool
) -> Steps:
    """One step of a solver (backwards, if `inverted`); tokens whose time rises are noised again (if it `reflects`: go up by DDIM's
    inversion), those whose time rests stay.
    """
    if not rests:
        return (yield from (solver.unstep(x, memory, move) if inverted else solver.step(x, memory, move)))
    rising, resting = move.s > move.t, move.s >= move.t
    going = ~resting.flatten(1).all(1)
    undone = x
    if rising.any() and reflects:  # first, in one question: rows that go up do so in all streams at once, however often the others ask
        up = replace(move, t=torch.maximum(move.t, move.s), s=torch.minimum(move.t, move.s))
        undone, _ = yield from _asking(DDIM().unstep(x, {}, up), rising.flatten(1).any(1))
    own = replace(move, count=lambda kind, name, amounts: move.count(kind, name, amounts * going))
    steps = solver.unstep(x, memory, own) if inverted else solver.step(x, memory, own)
    new, remembered = (yield from _asking(steps, going)) if going.any() else (x, memory)
    new = torch.where(resting, x, new)
    remembered = {name: _held(resting, memory[name], value) for name, value in remembered.items()}
    if rising.any():
        new = torch.where(rising, undone if reflects else move.path.renoise(x, move.t, move.s, move.noise(0, "rising")), new)
    return new, remembered


def _asking(steps: Steps, going: Bool[Tensor, " rows"]) -> Generator[Query, Tensor, tuple[Tensor, Memory]]:
    """A step whose questions are asked for some of the rows only."""
    try:
        query = next(steps)
        while True:
            rows = going if query.rows is None else query.rows & going
            query = steps.send((yield Query(query.x, query.t, rows)))
    except StopIteration as stop:
        return stop.value


def _held(resting: Bool[Tensor, "rows #tokens 1"], before: Tensor, after: Tensor) -> Tensor:
    """What is remembered, token by token where it is of tokens; else by rows that rest whole."""
    if after.dim() == 3 and resting.shape[1] in (1, after.shape[1]):
        return torch.where(resting, before, after)
    return torch.where(resting.flatten(1).all(1).reshape(-1, *([1] * (after.dim() - 1))), before, after)
