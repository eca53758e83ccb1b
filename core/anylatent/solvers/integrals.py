"""Integrals of interpolated predictions over a step: the numbers of every multistep solver."""

from collections.abc import Sequence

from anylatent.lazy import torch
from anylatent.types import Float, Tensor

_PLACES = 24
"""Gauss-Legendre places a step: enough for polynomials times exponentials over dozens of e-folds."""


def spread(start: Float[Tensor, " *steps"], end: Float[Tensor, " *steps"]) -> tuple[Tensor, Tensor]:
    """Places from `start` to `end` and their weights `(places, *steps)`: the integral of f is (f(places) weights).sum(0)."""
    k = torch.arange(1, _PLACES, dtype=torch.float64)
    beside = torch.diag(k / (4 * k**2 - 1).sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(beside + beside.T)  # Golub & Welsch 1969
    shape = (-1,) + (1,) * start.dim()
    where, weights = ((nodes + 1) / 2).reshape(shape), (vectors[0] ** 2).reshape(shape)
    return start + where * (end - start), weights * (end - start)


def weights(
    u: Float[Tensor, "times *tokens"],
    at: Float[Tensor, "places steps *tokens"],
    weight: Float[Tensor, "places steps *tokens"],
    shifts: Sequence[int],
    middle: Float[Tensor, "steps *tokens"] | None = None,
) -> list[Tensor]:
    """w_j such that the integral over step i of the interpolated m is m_i weight.sum + sum_j w_j (m_{i - shifts[j]} - m_i).

    `u`: the variable in which m is a polynomial, at all times; `at`: the same at the places of each step. As many shifts
    as there are finite values for, in their order, are used (a lower order where there is no past, or infinite noise);
    the others' weights are 0, and all are in steps whose own integral is infinite. Where two values make a straight line,
    `middle` times its middle value is taken for its integral, if given.
    """
    steps = len(u) - 1
    out = [torch.zeros_like(u[1:]) for _ in shifts]
    usable = at.isfinite().all(0) & weight.isfinite().all(0)
    nodes = [u[:-1]]
    for shift in shifts:
        nodes.append(_shifted(u, shift, steps))
        known = usable & torch.stack(nodes).isfinite().all(0)
        if len(nodes) == 2 and middle is not None:
            found = [middle / 2 * (u[1:] - nodes[0]) / (nodes[1] - nodes[0])]
        else:
            found = [(weight * basis).sum(0) for basis in _lagrange(nodes, at)[1:]]
        for j, column in enumerate(found):
            out[j] = torch.where(known, column, out[j])
    return out


def _shifted(u: Tensor, shift: int, steps: int) -> Tensor:
    """u[i - shift] for each step i; not a number where there is none."""
    out = torch.full_like(u[1:], torch.nan)
    first = max(shift, 0)
    if first < steps:
        out[first:] = u[first - shift : steps - shift]
    return out


def _lagrange(nodes: Sequence[Tensor], at: Tensor) -> list[Tensor]:
    """The polynomials that are 1 at their node and 0 at the others."""
    out = []
    for j, own in enumerate(nodes):
        basis = torch.ones_like(at)
        for k, other in enumerate(nodes):
            if k != j:
                basis = basis * (at - other) / (own - other)
        out.append(basis)
    return out
