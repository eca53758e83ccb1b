"""Log-likelihoods: by the probability-flow ODE, or by the bound of a discrete path."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from anylatent import random
from anylatent.condition import Condition
from anylatent.denoiser import Denoiser
from anylatent.paths.base import GaussianPath, as_gaussian
from anylatent.paths.discrete import DiscretePath
from anylatent.perception.noising import made_streams, noised, placed
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.data import Dataset
    from anylatent.tokenizers.base import Tokenizer

_RATIOS = (1e-3, 500.0)
"""Noise-to-signal ratios between which the flow is followed: below, data are as they are; above, they are noise."""
_TRIED = tuple(10 ** (-3 + k / 6) for k in range(22))
"""The ratios that `begins` tries, 1e-3 to 3.2."""
_LOSS = 0.003
"""How much of the bound, in nats a number, is worth beginning with less noise."""
_AT_ONCE = 1 << 14
"""Tokens, of copies of rows that each have a number of their own to be differentiated by, that a denoiser is asked at once."""


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


@dataclass(frozen=True)
class Begin:
    """Where the flow of a stream begins: with noise, `ratio` times as large as the signal, and data that are off by `error`.

    `error` is the standard deviation of a clean number around what the denoiser says of it there.
    """

    ratio: float
    error: float


def as_data(denoiser: Denoiser) -> list[str]:
    """The streams that are predicted as `data`: their likelihood needs a beginning (`begins`)."""
    return [spec.name for spec in made_streams(denoiser) if denoiser.corruptions[spec.name].prediction == "data"]


def begins_on(denoiser: Denoiser, tokenizer: "Tokenizer", data: "Dataset", count: int = 64) -> dict[str, Begin]:
    """`begins`, measured on so many samples of a data set (the training set), evenly spread, under what they are said to be."""
    if not as_data(denoiser):
        return {}
    count, known = min(count, len(data)), denoiser.conditions.named
    records = [data[i * len(data) // count] for i in range(count)]
    state = State.of(tokenizer.encode([record.sample for record in records]).streams, torch.arange(count))
    asked = [{name: value for name, value in record.conditions.items() if name in known} for record in records]
    return begins(denoiser, state, denoiser.conditions(asked, state.device))


@torch.no_grad()
def begins(denoiser: Denoiser, state: State, condition: Condition) -> dict[str, Begin]:
    """Where flows should begin, measured on clean rows (of the training set, some tens): of each stream that is predicted as `data`.

    Such a network is wrong by as much where there is no noise as where there is some: below a ratio it takes its own error for
    noise, which the flow then blows up. Other kinds are wrong in proportion to the noise, and need no such beginning.
    Of the ratios tried it is the least from which the evidence bound, E log N(x0; data, error^2) minus the integral of the squared
    errors over the noise that is left (Kingma et al. 2021, 2107.00630, eq. 15), is within 0.003 nats a number of the highest.
    The streams of a row are at one ratio, with one noise for all ratios, by its seed. 22 network calls a row.
    """
    names = as_data(denoiser)
    if not names:
        return {}
    flow = _Flow(denoiser, state, condition, made_streams(denoiser), 0)
    errors: dict[str, list[float]] = {name: [] for name in names}
    noise = {spec.name: flow.noise(spec, 1) for spec in flow.made}
    for spec in flow.made:
        # Of variance 1 as it was drawn: where data are known no better than the noise is small, errors are then as large as it.
        noise[spec.name] *= (flow.counts(spec).sum().float() / noise[spec.name].square().sum()).sqrt()
    for ratio in _TRIED:
        times = {spec.name: flow.at(spec, ratio) for spec in flow.made}
        x = {spec.name: flow.path(spec).corrupt(flow.clean(spec), noise[spec.name], times[spec.name]) for spec in flow.made}
        data = flow.data(x, times)
        for spec in flow.made:
            if spec.name in names:
                off = (data[spec.name] - flow.clean(spec)).double() * flow.free[spec.name]
                errors[spec.name].append(float(off.square().sum() / flow.counts(spec).sum()))
    found = {}
    for name, squares in errors.items():
        square = torch.tensor(squares, dtype=torch.float64).clamp(min=1e-12)
        ratio = torch.tensor(_TRIED, dtype=torch.float64)
        left_out = torch.cumulative_trapezoid(square / ratio**2, ratio.log())
        bound = torch.nn.functional.pad(left_out, (1, 0)) - 0.5 * square.log()
        chosen = int((bound >= bound.max() - _LOSS).nonzero()[0])
        found[name] = Begin(_TRIED[chosen], float(square[chosen].sqrt()))
    return found


def log_likelihood(
    denoiser: Denoiser,
    state: State,
    condition: Condition,
    steps: int = 40,
    probes: int = 1,
    exact: bool = False,
    begin: Mapping[str, Begin] | None = None,
) -> Likelihood:
    """The density of the clean tokens of each row under the denoiser's probability-flow ODE, given its kept tokens.

    The flow takes the tokens to the prior by the classical Runge-Kutta method, four calls a step, and the density with
    them: d log p(x_t) / dt = -div v (Song et al. 2020, 2011.13456, eq. 39; Chen et al. 2018, 1806.07366). The divergence is
    estimated with `probes` random signs a row (Hutchinson's, their eq. 40), drawn by row seed; or is `exact`, with a
    derivative a number. In tokens: a tokenizer's own density is not counted.

    A stream that `begin` names starts with noise, by its row's seed: its number is then a lower bound in the mean over noises,
    log p(x_t) + log N(x0; data(x_t), error^2) - log q(x_t | x0), as of a variational autoencoder whose encoder adds noise
    (Kingma et al. 2021, 2107.00630, eq. 11; the start of Song et al. 2021, 2101.09258, section 5). Streams that are predicted as
    `data` need one (`begins`); others, and all with `begin={}`, start from the tokens as they are, with a thousandth of noise.

    On discrete paths there is no flow: it is the path's bound of -log p (`DiscretePath.bound`; for masks Sahoo et al. 2024,
    2406.07524, eq. 10), by `4 steps` times, their roots evenly spread with a random shift a row, and as many noisings. The
    bound is the probability itself for a denoiser that is right; the mean over times is unbiased, and noisy for one row.

    Errors: `ValueError` for streams whose path has neither, or that are of both sorts; for one that is predicted as `data`, if
    it is not said where to begin.
    """
    for problem in unlikely(denoiser):
        raise ValueError(problem)
    made = made_streams(denoiser)
    if any(isinstance(denoiser.path(spec.name), DiscretePath) for spec in made):
        return _bounded(denoiser, state, condition, made, 4 * steps)
    unsaid = as_data(denoiser)
    if begin is None and unsaid:
        raise ValueError(
            f"stream '{unsaid[0]}' is predicted as data, and a network's error in them is no less without noise: give "
            "begin=begins_on(denoiser, run.tokenizer, run.train_set) (anylatent.perception.likelihood), or begin={} for a denoiser that "
            "is exact"
        )
    flow = _Flow(denoiser, state, condition, made, 0 if exact else probes, begin or {})
    x, nats = flow.start()
    for k in range(steps):
        x, nats = flow.step(x, nats, k / steps, (k + 1) / steps)
    for spec in made:
        nats = nats + flow.prior(spec, x[spec.name])
    return Likelihood(nats.float(), torch.stack([flow.counts(spec) for spec in made]).sum(0).float())


def unlikely(denoiser: Denoiser) -> Iterator[str]:
    """Why there is no likelihood under a denoiser, of its paths."""
    paths = {spec.name: denoiser.path(spec.name) for spec in made_streams(denoiser)}
    strange = [name for name, path in paths.items() if not isinstance(path, GaussianPath | DiscretePath)]
    discrete = [name for name, path in paths.items() if isinstance(path, DiscretePath)]
    for name in strange:
        yield f"stream '{name}' is on the path '{paths[name].kind}', which has no probability flow: no likelihood"
    if discrete and (others := sorted(set(paths) - set(discrete) - set(strange))):
        yield (
            f"streams {discrete} are on discrete paths and {others} on Gaussian ones: there is no likelihood of both together (classes can "
            "be told from both)"
        )


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
        shown = noised(denoiser, state, {spec.name: t for spec in made}, "likelihood", draw)
        data = denoiser(shown, condition)
        for spec in made:
            name, path = spec.name, denoiser.path(spec.name)
            assert isinstance(path, DiscretePath), "checked by `log_likelihood`"
            nats = path.bound(data[name], state[name].values, shown[name].values, t[..., None])
            total += 2 * u * nats.double().masked_fill(~free[name], 0).sum(1)
    return Likelihood((-total / draws).float(), numbers.float())


class _Flow:
    """The velocity and its divergence, at a common parameter u in [0, 1] of all streams: ratios fall geometrically between the ends."""

    def __init__(
        self,
        denoiser: Denoiser,
        state: State,
        condition: Condition,
        made: Sequence[StreamSpec],
        probes: int,
        begin: Mapping[str, Begin] | None = None,
    ) -> None:
        """`probes` 0: the divergence is exact."""
        self.denoiser, self.state, self.condition, self.made, self.begin = denoiser, state, condition, made, begin or {}
        self.free = {spec.name: (state[spec.name].mask & ~state[spec.name].keep)[..., None] for spec in made}
        self.probes = [self._signs(draw) for draw in range(probes)]

    def path(self, spec: StreamSpec) -> GaussianPath:
        return as_gaussian(self.denoiser.path(spec.name))

    def at(self, spec: StreamSpec, ratio: float) -> Tensor:
        """The time of a noise-to-signal ratio."""
        return self.path(spec).time_of(torch.tensor(ratio, dtype=torch.float64)).to(self.state.device).float()

    def time(self, spec: StreamSpec, u: float) -> Tensor:
        path, (low, high) = self.path(spec), _RATIOS
        if spec.name in self.begin:
            low = self.begin[spec.name].ratio
        latest = torch.tensor(path.start(self.denoiser.corruptions[spec.name].prediction), dtype=torch.float64)
        alpha, sigma = path.alpha(latest), path.sigma(latest)
        high = min(high, float(sigma / alpha)) if alpha > 0 else high
        return self.at(spec, math.exp(math.log(low) + u * (math.log(high) - math.log(low))))

    def counts(self, spec: StreamSpec) -> Tensor:
        """How many numbers each row is free in; those of a centred stream lie in a subspace."""
        free = self.free[spec.name][..., 0].sum(1)
        whole = ~self.state[spec.name].keep.any(1)
        less = (len(spec.centred) or spec.width) if spec.prior == "normal_centred" else 0
        return (free * spec.width - whole * less).double()

    def clean(self, spec: StreamSpec) -> Tensor:
        """Clean tokens, 0 where a row is not free."""
        return self._inside(spec, self.state[spec.name].values)

    def noise(self, spec: StreamSpec, draw: int) -> Tensor:
        """Standard normal, by row seed, 0 where a row is not free."""
        return self._inside(spec, self.state.noise(spec.name, 0, draw, "likelihood"))

    def start(self) -> tuple[dict[str, Tensor], Tensor]:
        """Where the flow begins, and what the density of clean tokens is more than the density there, in nats `(B,)`."""
        x, drawn = {}, {}
        nats = torch.zeros(len(self.state), dtype=torch.float64, device=self.state.device)
        for spec in self.made:
            path, t, counts = self.path(spec), self.time(spec, 0.0), self.counts(spec)
            if spec.name in self.begin:
                drawn[spec.name] = self.noise(spec, 0)
                x[spec.name] = path.corrupt(self.clean(spec), drawn[spec.name], t)
                nats += counts * path.sigma(t).log().double()
            else:
                x[spec.name] = path.alpha(t) * self.clean(spec)
                nats += counts * path.alpha(t).log().double()
        if drawn:
            with torch.no_grad():
                data = self.data(x, {spec.name: self.time(spec, 0.0) for spec in self.made})
            for spec in self.made:
                if spec.name in drawn:
                    error = self.begin[spec.name].error
                    off = (data[spec.name] - self.clean(spec)) * self.free[spec.name] / error
                    # log N(x0; data, error^2) - log q(x_t | x0), whose 2 pi are one another's, and whose sigma is counted above.
                    squares = off.double().square() - drawn[spec.name].double().square()
                    nats -= 0.5 * squares.sum((1, 2)) + self.counts(spec) * math.log(error)
        return x, nats

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
        if not self.probes:
            with torch.no_grad():
                velocity = self.velocity(x, u)
            return velocity, self._trace(x, u)
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in x.items()}
            velocity = self.velocity(leaves, u)
            divergence = torch.stack([_along(leaves, velocity, probe) for probe in self.probes]).mean(0)
        return {name: v.detach() for name, v in velocity.items()}, divergence

    def data(self, x: Mapping[str, Tensor], times: Mapping[str, Tensor], rows: Tensor | None = None) -> dict[str, Tensor]:
        """The denoiser's clean tokens, of tokens `x` at each stream's time; `rows`: which rows of the state they are of."""
        state, condition = (self.state, self.condition) if rows is None else (self.state.select(rows), self.condition.select(rows))
        return self.denoiser(placed(state, x, times), condition)

    def velocity(self, x: Mapping[str, Tensor], u: float, rows: Tensor | None = None) -> dict[str, Tensor]:
        """dx/du of tokens `x`; `rows`: as of `data`."""
        times, width = {spec.name: self.time(spec, u) for spec in self.made}, 1e-4
        data = self.data(x, times, rows)
        out = {}
        for spec in self.made:
            path, t = self.path(spec), times[spec.name]
            # dt/du: between nearby u, as a path gives times only.
            low, high = max(0.0, u - width), min(1.0, u + width)
            rate = (self.time(spec, high).double() - self.time(spec, low).double()) / (high - low)
            out[spec.name] = torch.where(self._free(spec, rows), path.velocity(data[spec.name], x[spec.name], t), 0.0) * rate.float()
        return out

    def _free(self, spec: StreamSpec, rows: Tensor | None) -> Tensor:
        return self.free[spec.name] if rows is None else self.free[spec.name][rows]

    def _signs(self, draw: int) -> dict[str, Tensor]:
        found = {}
        for spec in self.made:
            _, tokens, width = self.state[spec.name].shape
            u = random.uniform(self.state.seeds, f"likelihood/{spec.name}", 0, draw, tokens * width).unflatten(1, (tokens, width))
            found[spec.name] = self._inside(spec, (u < 0.5).float() * 2 - 1)
        return found

    def _inside(self, spec: StreamSpec, values: Tensor, rows: Tensor | None = None) -> Tensor:
        """Values or a direction, without what a row is not free in."""
        values = torch.where(self._free(spec, rows), values, 0.0)
        mask, keep = self.state[spec.name].mask, self.state[spec.name].keep
        if rows is not None:
            mask, keep = mask[rows], keep[rows]
        # A row with given tokens is where they are; only one that is whole has its mean taken off.
        return torch.where(keep.any(1)[:, None, None], values, self.path(spec).project(spec, values, mask))

    def _trace(self, x: dict[str, Tensor], u: float) -> Tensor:
        """The exact divergence of each row: by every number that it is free in, a copy of the row each, many at once."""
        total = torch.zeros(len(self.state), dtype=torch.float64, device=self.state.device)
        for spec in self.made:
            for row, token, channel in self._numbers(spec):
                with torch.enable_grad():
                    leaves = {name: value[row].detach().requires_grad_() for name, value in x.items()}
                    velocity = self.velocity(leaves, u, row)
                unit = torch.zeros_like(leaves[spec.name])
                unit[torch.arange(len(row), device=row.device), token, channel] = 1
                probe = {name: torch.zeros_like(value) for name, value in leaves.items()} | {spec.name: self._inside(spec, unit, row)}
                total.index_add_(0, row, _along(leaves, velocity, probe))
        return total

    def _numbers(self, spec: StreamSpec) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Row, token and channel of all free numbers, as many at a time as `_AT_ONCE` allows."""
        free = self.free[spec.name].expand(self.state[spec.name].shape)
        tokens = sum(stream.shape[1] for stream in self.state.streams.values())
        for part in free.nonzero().split(max(1, _AT_ONCE // tokens)):
            row, token, channel = part.unbind(1)
            yield row, token, channel


def _along(x: Mapping[str, Tensor], velocity: Mapping[str, Tensor], probe: Mapping[str, Tensor]) -> Tensor:
    """e^T J e of each row."""
    total = torch.stack([(velocity[name] * probe[name]).sum() for name in probe]).sum()
    slopes = torch.autograd.grad(total, [x[name] for name in probe], retain_graph=True)
    return torch.stack([(slope * e).double().sum((1, 2)) for slope, e in zip(slopes, probe.values(), strict=True)]).sum(0)
