"""What discrete paths and solvers must hold to, and a denoiser of tokens that is known exactly."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anylatent.condition import Condition
from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser, ModulationCache
from anylatent.engine import Engine, Request, sample
from anylatent.nn.sites import Sites
from anylatent.paths import Rectified
from anylatent.paths.discrete import DiscretePath
from anylatent.sampling import Sampling
from anylatent.solvers.base import Solver
from anylatent.solvers.discrete import DiscreteSolver, Jumping
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.oracles import Label, Opaque
from anylatent.types import Float, Int, Tensor

INSIDE = st.floats(0.05, 0.95)
TIMES = st.tuples(INSIDE, INSIDE, INSIDE)


def vocabulary(path: DiscretePath, width: int) -> StreamSpec:
    """A stream that the path carries: `width` entries (and the mask, if the path has one), or bits."""
    more = 1 if path.ends == "mask" else 0
    return StreamSpec(
        name="tokens",
        kind=path.holds,  # type: ignore[arg-type]
        width=width + more,
        axes=(AxisSpec(name="i", unit="1"),),
        order="sequence",
        prior=path.ends,  # type: ignore[arg-type]
    )


def every_token(spec: StreamSpec) -> Float[Tensor, "values width"]:
    """All values that one token of the stream can have, the mask last."""
    if spec.kind == "binary":
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=spec.width)))
    return torch.eye(spec.width)


def every_row(spec: StreamSpec, tokens: int) -> Float[Tensor, "rows tokens width"]:
    """All rows that there are."""
    values = every_token(spec)
    return torch.stack([values[list(chosen)] for chosen in itertools.product(range(len(values)), repeat=tokens)])


class DiscreteOracle(Denoiser):
    """The exact p(x0 | x_t), token by token, of a finite set of clean rows `(M, N, W)` with probabilities `weights` `(M,)`.

    The condition `component` chooses the rows of one of the `groups` `(M,)`; the null is all of them. Each token may have
    its own time.
    """

    def __init__(
        self, path: DiscretePath, rows: Float[Tensor, "set tokens width"], weights: Tensor, groups: Int[Tensor, " set"] | None = None
    ) -> None:
        groups = torch.zeros(len(rows), dtype=torch.long) if groups is None else groups
        spec = vocabulary(path, rows.shape[-1] - (1 if path.ends == "mask" else 0))
        count = int(groups.max()) + 1
        super().__init__(Opaque((spec,), count), Conditions(count, {"component": Label(count)}), {"tokens": Corruption(path, "logits")})
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.discrete, self.set, self.weights, self.groups = path, rows, weights / weights.sum(), groups
        self.calls = 0
        """Rows that were asked, over all calls."""

    @staticmethod
    def random(path: DiscretePath, tokens: int, width: int, count: int, groups: int = 1, seed: int = 0) -> "DiscreteOracle":
        """`count` different rows of any values, with any probabilities."""
        generator = torch.Generator().manual_seed(seed)
        values = every_token(vocabulary(path, width))
        values = values[: len(values) - (1 if path.ends == "mask" else 0)]
        chosen = torch.randperm(len(values) ** tokens, generator=generator)[:count]
        places = torch.stack([chosen // len(values) ** i % len(values) for i in range(tokens)], 1)
        weights = torch.rand(count, generator=generator) + 0.1
        return DiscreteOracle(path, values[places], weights, torch.arange(count) % groups)

    def layout(self, seeds: Sequence[int]) -> State:
        """Empty rows to sample into."""
        _, tokens, width = self.set.shape
        positions = torch.arange(tokens, dtype=torch.float32)[None, :, None].expand(len(seeds), -1, -1)
        return State.of({"tokens": Stream.of(torch.zeros(len(seeds), tokens, width), positions)}, seeds)

    def posterior(self, x: Float[Tensor, "rows tokens width"], t: Tensor, chosen: Float[Tensor, "rows groups"]) -> Tensor:
        """p(x0 | x_t = x) of every token; tokens of padding (`t` not a number) say nothing."""
        rows = self.set.to(x.dtype)[None]
        marginal = self.discrete.forward(rows, torch.zeros_like(t)[:, None], t.nan_to_num(0.5)[:, None])
        told = self.discrete.log_of(x[:, None].expand_as(marginal), marginal)
        told = told.masked_fill(t[:, None, :, 0].isnan(), 0).sum(-1)
        share = (told + (self.weights * chosen[:, self.groups]).to(x.dtype).log()).softmax(1)
        return (share[..., None, None] * rows).sum(1)

    def forward(
        self, state: State, condition: Condition, sites: Sites | None = None, modulations: ModulationCache | None = None
    ) -> dict[str, Tensor]:
        stream = state["tokens"]
        self.calls += len(state)
        time = stream.time.masked_fill(~stream.mask, torch.nan)[..., None]
        tokens = self.set.shape[1]
        data = torch.zeros_like(stream.values)
        data[:, :tokens] = self.posterior(stream.values[:, :tokens], time[:, :tokens], condition.vector)
        given = stream.mask & (stream.keep | (stream.time == 0))
        return {"tokens": torch.where(given[..., None], stream.values, data) * stream.mask[..., None]}

    def exact(self, component: int | None = None) -> Float[Tensor, " set"]:
        """The probabilities of the clean rows."""
        weights = self.weights if component is None else self.weights * (self.groups == component)
        return weights / weights.sum()

    def shares(self, made: Float[Tensor, "rows tokens width"]) -> Float[Tensor, " set"]:
        """How often each clean row was made; what is none of them is missing from the sum."""
        same = (made[:, None] == self.set[None]).flatten(2).all(-1)
        return same.float().mean(0)


def apart(p: Tensor, q: Tensor) -> float:
    """The total variation of two distributions; what is missing from a sum to 1 counts."""
    return float(0.5 * ((p - q).abs().sum() + abs(float(p.sum() - q.sum()))))


def law_of(solver: Jumping, oracle: DiscreteOracle, times: Sequence[float]) -> Float[Tensor, " states"]:
    """The exact distribution of what the solver makes of the prior, over all rows that there are, in double."""
    path, spec = oracle.discrete, oracle.specs[0]
    states = every_row(spec, oracle.set.shape[1]).double()
    one = torch.ones(len(states), 1, 1, dtype=torch.float64)
    chosen = torch.ones(len(states), int(oracle.groups.max()) + 1)

    def over(probabilities: Tensor) -> Tensor:
        """Each row's probabilities of tokens, as its distribution over the states."""
        rows, count = len(probabilities), len(states)
        each = path.log_of(states[None].expand(rows, -1, -1, -1).flatten(0, 1), probabilities.repeat_interleave(count, 0))
        return each.sum(-1).exp().unflatten(0, (rows, count))

    law = over(path.forward(torch.zeros_like(states[:1]) if spec.kind != "binary" else states[:1], 0 * one[:1], one[:1]))[0]
    for t, s in itertools.pairwise(times):
        time = t * one
        data = oracle.posterior(states, time.expand(-1, states.shape[1], -1), chosen)
        law = law @ over(solver.law(path, data, states, time, s * one))
    return law


class DiscretePathContract:
    """Subclass it and give one fixture, `path`."""

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> DiscretePath:
        raise NotImplementedError("give the fixture `path`")

    def _tokens(self, path: DiscretePath) -> tuple[StreamSpec, Tensor]:
        """A stream of 3 entries or bits, and every clean token of it as a row of one."""
        spec = vocabulary(path, 3)
        values = every_token(spec).double()
        return spec, values[: len(values) - (1 if path.ends == "mask" else 0), None]

    @settings(max_examples=15)
    @given(times=TIMES)
    def test_jumps_compose(self, path: DiscretePath, times: tuple[float, float, float]) -> None:
        """Chapman-Kolmogorov: on to r, then to s, is on to s; and probabilities sum to 1."""
        _, x = self._tokens(path)
        t, r, s = (torch.full((1, 1, 1), each, dtype=torch.float64) for each in sorted(times))
        for start in (torch.zeros_like(t), t):
            once = path.forward(x, start, s)
            torch.testing.assert_close(path.forward(path.forward(x, start, r), r, s), once, atol=1e-12, rtol=1e-9)
            assert (once >= 0).all()
            assert (once <= 1).all()
            if path.holds == "categorical":
                torch.testing.assert_close(once.sum(-1), torch.ones_like(once[..., 0]))

    def test_noise_draws_the_marginal(self, path: DiscretePath) -> None:
        """Counted: `corrupt` and `renoise` have the probabilities of `forward`, within five standard errors."""
        spec, x0 = self._tokens(path)
        n, t, s = 20_000, torch.full((1, 1, 1), 0.4), torch.full((1, 1, 1), 0.7)
        x0 = x0[1:2].float().expand(1, n, -1)
        generator = torch.Generator().manual_seed(0)

        def noise() -> Tensor:
            return path.prior(spec, torch.randn(1, n, spec.width, generator=generator), torch.ones(1, n, dtype=torch.bool))

        x_t = path.corrupt(x0, noise(), t)
        for made, law in ((x_t, path.forward(x0, 0 * t, t)), (path.renoise(x_t, t, s, noise()), path.forward(x0, 0 * t, s))):
            error = (law * (1 - law) / n).sqrt()
            assert ((made.mean(1) - law.mean(1)).abs() <= 5 * error[:, 0] + 1e-6).all()
            assert ((made == 0) | (made == 1)).all()

    def test_the_ends_are_exact(self, path: DiscretePath) -> None:
        """At t = 0 the very tokens; at t = 1 the prior, whatever they were; where time rests, nothing."""
        spec, x0 = self._tokens(path)
        x0 = x0.float()
        noise = path.prior(spec, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)), torch.ones(x0.shape[:2]).bool())
        zero, half, one = (torch.full((1, 1, 1), t) for t in (0.0, 0.5, 1.0))
        assert torch.equal(path.corrupt(x0, noise, zero), x0)
        prior = path.corrupt(x0, noise, one)
        assert torch.equal(path.corrupt(x0.flip(0), noise, one), prior)
        assert torch.equal(path.corrupt(torch.zeros_like(x0), noise, one), prior)
        middle = path.corrupt(x0, noise, half)
        assert torch.equal(path.renoise(x0, zero, half, noise), middle)
        for t in (zero, half, one):
            assert torch.equal(path.renoise(middle, t, t, noise), middle)
        assert noise.isfinite().all()

    def test_noise_is_the_tokens_own(self, path: DiscretePath) -> None:
        """Extreme normal numbers make finite noise, and padding changes none."""
        spec, _ = self._tokens(path)
        z = torch.tensor([-6.5, -1.0, 0.0, 3.0, 6.5])[None, :, None].expand(1, 5, spec.width).contiguous()
        noise = path.prior(spec, z, torch.ones(1, 5, dtype=torch.bool))
        assert noise.isfinite().all()
        assert (noise.diff(dim=1) > 0).all()
        assert torch.equal(path.prior(spec, z[:, :2], torch.ones(1, 2, dtype=torch.bool)), noise[:, :2])

    @settings(max_examples=15)
    @given(t=INSIDE, seed=st.integers(0, 1000))
    def test_logits_are_what_the_others_tell(self, path: DiscretePath, t: float, seed: int) -> None:
        """Bayes: logits of 0 mean q(x0 | x_t) under a prior of all alike; and conversions round-trip."""
        spec, x0 = self._tokens(path)
        time = torch.full((1, 1, 1), t, dtype=torch.float64)
        marginal = path.forward(x0, 0 * time, time)
        states = every_row(spec, 1).double()
        for x in states:
            joint = path.log_of(x.expand_as(marginal), marginal).exp()
            if not joint.sum():
                continue
            bayes = (joint[..., None] * x0).sum(0, keepdim=True) / joint.sum()
            data = path.convert(torch.zeros_like(x)[None], "logits", x[None], time)
            torch.testing.assert_close(data, bayes, atol=1e-9, rtol=1e-9)
            logits = torch.randn(1, 1, spec.width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            data = path.convert(logits, "logits", x[None], time)
            back = path.convert(path.convert(data, "data", x[None], time, "logits"), "logits", x[None], time)
            torch.testing.assert_close(back, data, atol=1e-9, rtol=1e-9)
            if path.ends == "mask":
                assert data[0, 0, -1] == 0, "the mask is predicted"

    @settings(max_examples=15)
    @given(times=TIMES)
    def test_the_way_back_is_bayes(self, path: DiscretePath, times: tuple[float, float, float]) -> None:
        """`posterior` of a certain prediction is q(x_s | x_t, x0), entry by entry; and over x_t it has the marginal of s."""
        spec, x0 = self._tokens(path)
        s, _, t = (torch.full((1, 1, 1), each, dtype=torch.float64) for each in sorted(times))
        if s == t:
            return
        states = every_row(spec, 1).double()
        start = path.forward(x0, 0 * s, s)  # (M, 1, W)
        for clean in range(len(x0)):
            before = path.log_of(states, start[clean].expand(len(states), -1, -1)).exp()[:, 0]
            onward = torch.stack([path.log_of(states, path.forward(each[None], s, t).expand_as(states)).exp()[:, 0] for each in states])
            joint = before[:, None] * onward  # x_s, x_t
            mean = torch.zeros_like(states[0])
            for index, x_t in enumerate(states):
                total = joint[:, index].sum()
                if total < 1e-12:
                    continue
                bayes = (joint[:, index, None, None] * states).sum(0) / total
                said = path.posterior(x0[clean : clean + 1], x_t[None], t, s)[0]
                torch.testing.assert_close(said, bayes, atol=1e-9, rtol=1e-9)
                mean = mean + total * said
            torch.testing.assert_close(mean, start[clean], atol=1e-9, rtol=1e-9)

    def test_the_bound_of_the_exact_denoiser_is_the_likelihood(self, path: DiscretePath) -> None:
        """Over all x_t and times, by quadrature: within 1 % of -log p(x0), be it the data's p or that of another denoiser."""
        oracle = DiscreteOracle.random(path, tokens=2, width=2, count=3, seed=4)
        states = every_row(oracle.specs[0], 2).double()
        nodes = (torch.arange(80, dtype=torch.float64) + 0.5) / 80
        nodes = nodes**2  # most of the bound is near t = 0
        width = 2 * nodes.sqrt() / 80
        blind = DiscreteOracle(path, oracle.set, torch.ones(3))
        for index in range(3):
            x0 = oracle.set[index].double().expand_as(states)
            found = []
            for denoiser in (oracle, blind):
                total = 0.0
                for t, dt in zip(nodes, width, strict=True):
                    time = t.expand(len(states), 2, 1)
                    chance = path.log_of(states, path.forward(x0, 0 * time, time)).sum(-1).exp()
                    data = denoiser.posterior(states, time, torch.ones(len(states), 1))
                    bound = path.bound(data, x0, states, time).sum(-1)
                    total += float(dt * (chance * bound)[chance > 1e-100].sum())
                found.append(total)
            exact = -math.log(float(oracle.weights[index]))
            assert found[0] == pytest.approx(exact, rel=0.01)
            assert found[1] == pytest.approx(math.log(3), rel=0.01)

    def test_the_loss_is_least_for_the_truth(self, path: DiscretePath) -> None:
        """Cross-entropy and bound of logits: finite, by token, and with a gradient that raises the true one."""
        spec, x0 = self._tokens(path)
        x0 = x0.float()
        rows = len(x0)
        noise = path.prior(spec, torch.randn(x0.shape, generator=torch.Generator().manual_seed(2)), torch.ones(rows, 1).bool())
        t = torch.full((rows, 1, 1), 0.8)
        for weighting in ("bound", "even"):
            own = path.model_copy(update={"weighting": weighting})
            x_t = own.corrupt(x0, noise, t)
            logits = torch.zeros_like(x0, requires_grad=True)
            loss = own.loss(logits, "logits", x0, x_t, t)
            assert loss.shape == (rows, 1)
            assert (loss >= 0).all()
            assert loss.isfinite().all()
            loss.sum().backward()
            assert logits.grad is not None
            better = own.loss((logits - 0.1 * logits.grad).detach(), "logits", x0, x_t, t)
            assert (better <= loss + 1e-6).all()
            assert better.sum() < loss.sum()

    def test_guidance_mixes_logarithms(self, path: DiscretePath) -> None:
        """p(x | asked)^2 / p(x), normalised; a mixture that is one of the predictions is that one, bit for bit."""
        spec, _ = self._tokens(path)
        generator = torch.Generator().manual_seed(3)
        x = torch.zeros(2, 4, spec.width)
        if path.ends == "mask":
            x[..., -1] = 1
        asked, null = (path.convert(torch.randn(2, 4, spec.width, generator=generator), "logits", x, torch.ones(2, 4, 1)) for _ in range(2))
        asked[1, 0] = null[1, 0] = every_token(spec)[0]

        def guided(scale: float) -> Tensor:
            return path.mixed({"asked": asked, "null": null}, lambda each: each["null"] + scale * (each["asked"] - each["null"]))

        if path.holds == "binary":
            square, other = asked**2 / null, (1 - asked) ** 2 / (1 - null)
            exact = square / (square + other)
        else:
            exact = torch.where(asked > 0, asked**2 / null, 0)
            exact = exact / exact.sum(-1, keepdim=True)
        torch.testing.assert_close(guided(2.0)[0], exact[0], atol=1e-6, rtol=1e-5)
        assert torch.equal(guided(2.0)[1, 0], asked[1, 0]), "what is certain is not"
        assert torch.equal(guided(0.0), null)
        assert torch.equal(path.mixed({"asked": asked}, lambda each: each["asked"]), asked)
        assert torch.equal(path.mixed({"asked": asked, "null": null}, lambda each: each["asked"]), asked)

    def test_other_streams_are_refused(self, path: DiscretePath) -> None:
        assert path.refuses(vocabulary(path, 3)) is None
        assert f"carries {path.holds} tokens" in (path.refuses(StreamSpec(name="s", width=3)) or "")
        assert "stream 's' is continuous" in (path.refuses(StreamSpec(name="s", width=3)) or "")


class DiscreteSolverContract:
    """Subclass it and give two fixtures: `solver`, and `path`, those it is for."""

    @pytest.fixture(scope="class")
    @classmethod
    def solver(cls) -> DiscreteSolver:
        raise NotImplementedError("give the fixture `solver`")

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls) -> DiscretePath:
        raise NotImplementedError("give the fixture `path`")

    def test_its_error_falls_with_the_steps(self, solver: DiscreteSolver, path: DiscretePath) -> None:
        """The distribution of what it makes, computed, tends to the data's as steps^-1 (within 0.3 of that order)."""
        if not isinstance(solver, Jumping):
            pytest.skip("its tokens are not drawn by themselves: its samples are counted")
        oracle = DiscreteOracle.random(path, tokens=2, width=2, count=3, seed=4)
        states = every_row(oracle.specs[0], 2)
        same = (states[:, None] == oracle.set[None]).flatten(2).all(-1).double()
        exact = same @ oracle.exact().double()
        errors = [apart(law_of(solver, oracle, torch.linspace(1, 0, n + 1).tolist()), exact) for n in (1, 32, 64, 128)]
        orders = [math.log2(a / b) for a, b in itertools.pairwise(errors[1:])]
        assert errors[0] > 0.05, "one step that draws all tokens apart should be wrong: the test cannot fail"
        assert all(order > solver.order - 0.3 for order in orders), f"total variations {errors}"

    def test_it_makes_the_data(self, solver: DiscreteSolver, path: DiscretePath) -> None:
        """Counted: rows made through the engine, each a row of the data's set, as often as in it."""
        oracle = DiscreteOracle.random(path, tokens=3, width=3 if path.holds == "categorical" else 2, count=6, seed=2)
        rows = 800
        request = Request(oracle.layout(range(rows)), oracle.conditions([{}] * rows), Sampling(steps=32, solver=solver))
        made = sample(oracle, request, rows=rows)[0]["tokens"].values
        # Counting 800 draws of 6 is off by 0.03 on average, 32 steps by as much again.
        assert apart(oracle.shares(made), oracle.exact()) < 0.08

    def test_it_ends_at_the_data(self, solver: DiscreteSolver, path: DiscretePath) -> None:
        """Data that is a single row is made exactly, in any number of steps."""
        oracle = DiscreteOracle.random(path, tokens=3, width=2, count=1)
        for steps in (1, 2, 7):
            state, receipts = sample(
                oracle, Request(oracle.layout([3, 4]), oracle.conditions([{}] * 2), Sampling(steps=steps, solver=solver))
            )
            assert torch.equal(state["tokens"].values, oracle.set.expand(2, -1, -1))
            assert receipts["engine"].counts["network_calls"] == 2 * steps * solver.calls

    def test_rows_are_alone_together(self, solver: DiscreteSolver, path: DiscretePath) -> None:
        """A row's tokens in a batch, joined by others at other steps, are the ones it has alone."""
        oracle = DiscreteOracle.random(path, tokens=3, width=2, count=5, groups=2)
        requests = [
            Request(oracle.layout([seed]), oracle.conditions([{"component": seed % 2}]), Sampling(steps=4 + seed, solver=solver))
            for seed in range(6)
        ]
        alone = [sample(oracle, request)[0]["tokens"].values for request in requests]
        engine, done = Engine(oracle), {}
        for request in requests:
            engine.add(request)
            done |= {finished.row: finished for finished in engine.step()}
        done |= {finished.row: finished for finished in engine.stream()}
        for row, values in enumerate(alone):
            assert torch.equal(done[row].state["tokens"].values, values)

    def test_what_is_given_stays_and_padding_changes_nothing(self, solver: DiscreteSolver, path: DiscretePath) -> None:
        """A kept token comes back, the others fit it; with more padding, the same tokens."""
        oracle = DiscreteOracle.random(path, tokens=3, width=2, count=4, seed=2)
        rows = 32
        state = oracle.layout(range(rows))
        values = state["tokens"].values.clone()
        values[:, 1] = oracle.set[0, 1]
        keep = torch.zeros(rows, 3, dtype=torch.bool)
        keep[:, 1] = True
        state = state.with_values({"tokens": values}).with_kept("tokens", keep)
        asked = Sampling(steps=24, solver=solver)
        made = sample(oracle, Request(state, oracle.conditions([{}] * rows), asked))[0]["tokens"].values
        assert torch.equal(made[:, 1], values[:, 1])
        fits = (oracle.set[:, 1] == oracle.set[0, 1]).all(-1)
        assert float(oracle.shares(made)[fits].sum()) > 0.7
        padded = state.map(lambda stream: stream.padded(5))
        again = sample(oracle, Request(padded, oracle.conditions([{}] * rows), asked))[0]["tokens"]
        assert torch.equal(again.values[:, :3], made)
        assert not again.values[:, 3:].any()

    def test_only_discrete_paths_are_taken(self, solver: Solver, path: DiscretePath) -> None:
        assert solver.supports(path) is None
        assert "'rectified'" in (solver.supports(Rectified()) or "")
