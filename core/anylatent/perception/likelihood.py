"""Log-likelihoods: by the probability-flow ODE, or by the bound of a discrete path."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from anylatent import random
from anylatent.condition import Condition
from anylatent.denoiser import Denoiser
from anylatent.paths.base import GaussianPath, as_gaussian
from anylatent.paths.discrete import DiscretePath
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.types import Float, Tensor

_RATIOS = (1e-3, 500.0)
"""Noise-to-signal ratios between which the flow is followed: below, data are as they are; above, they are noise."""


@dataclass(frozen=True)
class Likelihood:
    """Of each row: `nats` `(B,)`, the natural logarithm of the density of its tokens; `numbers` `(B,)`, how many they are.

    Of discrete tokens: of their probability, of which it is a lower bound; a token of a vocabulary is one number, a bit too.
    """

    nats: Float[Tensor, " rows"]
    numbers: Float[Tensor, " rows"]

    @property
    def bits_per_number(self) -> Float[Tensor, " rows"]:
        """Minus the binary logarithm of the density, a number: lower is likelier; below 0 where the density is above 1."""
        return -self.nats / self.numbers / math.log(2)


def log_likelihood(
    denoiser: Denoiser, state: State, condition: Condition, steps: int = 40, probes: int = 1, exact: bool = False
) -> Likelihood:
    """The density of the clean tokens of each row under the denoiser's probability-flow ODE, given its kept tokens.

    The flow takes the tokens to the prior by the classical Runge-Kutta method, four calls a step, and the density with
    them: d log p(x_t) / dt = -div v (Song et al. 2020, 2011.13456, eq. 39; Chen et al. 2018, 1806.07366). The divergence is
    estimated with `probes` random signs a row (Hutchinson's, their eq. 40), drawn by row seed; or is `exact`, with a
    derivative a number. In tokens: a tokenizer's own density is not counted.

    On discrete paths there is no flow: it is the path's bound of -log p (`DiscretePath.bound`; for masks Sahoo et al. 2024,
    2406.07524, eq. 10), by `4 steps` times, their roots evenly spread with a random shift a row, and as many noisings. The
    bound is the probability itself for a denoiser that is right; the mean over times is unbiased, and noisy for one row.

    Errors: `ValueError` for streams whose path has neither, or that are of both sorts.
    """
    made = [spec for spec in denoiser.specs if not spec.given]
    paths = {spec.name: denoiser.path(spec.name) for spec in made}
    for name, path in paths.items():
        if not isinstance(path, GaussianPath | DiscretePath):
            raise ValueError(f"stream '{name}' is on the path '{path.kind}', which has no probability flow: no likelihood")
    discrete = [name for name, path in paths.items() if isinstance(path, DiscretePath)]
    if discrete and len(discrete) < len(paths):
        others = sorted(set(paths) - set(discrete))
        raise ValueError(
            f"streams {discrete} are on discrete paths and {others} on Gaussian ones: there is no likelihood of both together; "
            "give one sort (objective.given) and ask for the other's"
        )
    if discrete:
        return _bounded(denoiser, state, condition, made, 4 * steps)
    flow = _Flow(denoiser, state, condition, made, probes, exact)
    x = {spec.name: flow.first(spec) for spec in made}
    change = torch.zeros(len(state), dtype=torch.float64, device=state.device)
    for k in range(steps):
        x, change = flow.step(x, change, k / steps, (k + 1) / steps)
    nats = change
    for spec in made:
        nats = nats + flow.prior(spec, x[spec.name]) + flow.counts(spec) * flow.path(spec).alpha(flow.time(spec, 0.0)).log().double()
    return Likelihood(nats.float(), torch.stack([flow.counts(spec) for spec in made]).sum(0).float())


@torch.no_grad()
def _bounded(denoiser: Denoiser, state: State, condition: Condition, made: Sequence[StreamSpec], draws: int) -> Likelihood:
    """Minus the paths' bounds, integrated over times and noisings; all streams of a row are at one time."""
    total = torch.zeros(len(state), dtype=torch.float64, device=state.device)
    numbers = torch.zeros_like(total)
    shift = random.uniform(state.seeds, "likelihood", 0, 0, 1)[:, 0]
    free = {spec.name: state[spec.name].mask & ~state[spec.name].keep for spec in made}
    for spec in made:
        numbers += free[spec.name].sum(1) * (spec.width if spec.kind == "binary" else 1)
    for draw in range(draws):
        u = (draw + shift) / draws
        t = u[:, None] ** 2  # most of the bound is near t = 0
        noised = state
        for spec in made:
            stream, path = state[spec.name], denoiser.path(spec.name)
            noise = path.prior(spec, state.noise(spec.name, 0, draw, "likelihood"), stream.mask)
            x = path.corrupt(stream.values, noise, t[..., None])
            noised = noised.with_values({spec.name: torch.where(stream.keep[..., None], stream.values, x) * stream.mask[..., None]})
            noised = noised.with_time({spec.name: t.expand(stream.shape[:2])})
        data = denoiser(noised, condition)
        for spec in made:
            name, path = spec.name, denoiser.path(spec.name)
            assert isinstance(path, DiscretePath), "checked by `log_likelihood`"
            nats = path.bound(data[name], state[name].values, noised[name].values, t[..., None])
            total += 2 * u * nats.double().masked_fill(~free[name], 0).sum(1)
    return Likelihood((-total / draws).float(), numbers.float())


class _Flow:
    """The velocity and its divergence, at a common parameter u in [0, 1] of all streams: ratios fall geometrically between the ends."""

    def __init__(
        self, denoiser: Denoiser, state: State, condition: Condition, made: Sequence[StreamSpec], probes: int, exact: bool
    ) -> None:
        self.denoiser, self.state, self.condition, self.made, self.exact = denoiser, state, condition, made, exact
        self.free = {spec.name: (state[spec.name].mask & ~state[spec.name].keep)[..., None] for spec in made}
        self.probes = [] if exact else [self._signs(draw) for draw in range(probes)]

    def path(self, spec: StreamSpec) -> GaussianPath:
        return as_gaussian(self.denoiser.path(spec.name))

    def time(self, spec: StreamSpec, u: float) -> Tensor:
        path, (low, high) = self.path(spec), _RATIOS
        latest = torch.tensor(path.start(self.denoiser.corruptions[spec.name].prediction), dtype=torch.float64)
        alpha, sigma = path.alpha(latest), path.sigma(latest)
        high = min(high, float(sigma / alpha)) if alpha > 0 else high
        ratio = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        return path.time_of(torch.tensor(ratio, dtype=torch.float64)).to(self.state.device).float()

    def counts(self, spec: StreamSpec) -> Tensor:
        """How many numbers each row is free in; those of a centred stream lie in a subspace."""
        free = self.free[spec.name][..., 0].sum(1)
        whole = ~self.state[spec.name].keep.any(1)
        less = (len(spec.centred) or spec.width) if spec.prior == "normal_centred" else 0
        return (free * spec.width - whole * less).double()

    def first(self, spec: StreamSpec) -> Tensor:
        clean = self.path(spec).project(spec, self.state[spec.name].values, self.state[spec.name].mask)
        return self.path(spec).alpha(self.time(spec, 0.0)) * torch.where(self.free[spec.name], clean, 0.0)

    def prior(self, spec: StreamSpec, x: Tensor) -> Tensor:
        """The logarithm of the normal density that tokens have at the last time, of data with variance 1."""
        path, t = self.path(spec), self.time(spec, 1.0)
        variance = (path.alpha(t) * path.data_std) ** 2 + path.sigma(t) ** 2
        return -0.5 * ((x.double().square() / variance).sum((1, 2)) + self.counts(spec) * math.log(2 * math.pi * float(variance)))

    def step(self, x: dict[str, Tensor], change: Tensor, u: float, end: float) -> tuple[dict[str, Tensor], Tensor]:
        """One step of the classical Runge-Kutta method in u."""
        h, slopes, at = end - u, [], x
        for place in (0.0, 0.5, 0.5, 1.0):
            if slopes:
                at = {name: x[name] + place * h * slopes[-1][0][name] for name in x}
            slopes.append(self.slope(at, u + place * h))
        weights = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
        moved = {name: x[name] + h * sum(w * v[name] for w, (v, _) in zip(weights, slopes, strict=True)) for name in x}
        return moved, change + h * sum(w * d for w, (_, d) in zip(weights, slopes, strict=True))

    def slope(self, x: dict[str, Tensor], u: float) -> tuple[dict[str, Tensor], Tensor]:
        """dx/du of each stream, and the sum of the divergences `(B,)`."""
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in x.items()}
            velocity = self.velocity(leaves, u)
            if self.exact:
                divergence = self._trace(leaves, velocity)
            else:
                divergence = torch.stack([self._along(leaves, velocity, probe) for probe in self.probes]).mean(0)
        return {name: v.detach() for name, v in velocity.items()}, divergence

    def velocity(self, x: dict[str, Tensor], u: float) -> dict[str, Tensor]:
        state, width = self.state, 1e-4
        times = {spec.name: self.time(spec, u) for spec in self.made}
        for spec in self.made:
            stream = state[spec.name]
            state = state.with_values({spec.name: torch.where(self.free[spec.name], x[spec.name], stream.values)})
            state = state.with_time({spec.name: times[spec.name].expand(stream.shape[:2])})
        data = self.denoiser(state, self.condition)
        out = {}
        for spec in self.made:
            path, t = self.path(spec), times[spec.name]
            # dt/du: between nearby u, as a path gives times only.
            low, high = max(0.0, u - width), min(1.0, u + width)
            rate = (self.time(spec, high).double() - self.time(spec, low).double()) / (high - low)
            out[spec.name] = torch.where(self.free[spec.name], path.velocity(data[spec.name], x[spec.name], t), 0.0) * rate.float()
        return out

    def _signs(self, draw: int) -> dict[str, Tensor]:
        found = {}
        for spec in self.made:
            _, tokens, width = self.state[spec.name].shape
            u = random.uniform(self.state.seeds, f"likelihood/{spec.name}", 0, draw, tokens * width).unflatten(1, (tokens, width))
            found[spec.name] = self._inside(spec, (u < 0.5).float() * 2 - 1)
        return found

    def _inside(self, spec: StreamSpec, direction: Tensor) -> Tensor:
        """A direction, without what a row is not free in."""
        direction = torch.where(self.free[spec.name], direction, 0.0)
        return self.path(spec).project(spec, direction, self.state[spec.name].mask) if spec.prior == "normal_centred" else direction

    def _along(self, x: dict[str, Tensor], velocity: dict[str, Tensor], probe: dict[str, Tensor]) -> Tensor:
        """e^T J e of each row."""
        total = torch.stack([(velocity[name] * probe[name]).sum() for name in probe]).sum()
        slopes = torch.autograd.grad(total, [x[name] for name in probe], retain_graph=True)
        return torch.stack([(slope * e).double().sum((1, 2)) for slope, e in zip(slopes, probe.values(), strict=True)]).sum(0)

    def _trace(self, x: dict[str, Tensor], velocity: dict[str, Tensor]) -> Tensor:
        total = torch.zeros(len(self.state), dtype=torch.float64, device=self.state.device)
        for spec in self.made:
            zero = {name: torch.zeros_like(value) for name, value in x.items()}
            _, tokens, width = self.state[spec.name].shape
            for n in range(tokens):
                for c in range(width):
                    unit = zero[spec.name].clone()
                    unit[:, n, c] = 1
                    total = total + self._along(x, velocity, zero | {spec.name: self._inside(spec, unit)})
        return total
