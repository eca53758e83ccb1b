"""Search among steps by a value without gradients."""

import itertools
from collections.abc import Mapping

import pytest
import torch

from anylatent.engine import Engine, Request
from anylatent.paths.cosine import Cosine
from anylatent.sampling import Sampling
from anylatent.solvers.base import Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.value_search import ValueSearch
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor


def worth(data: Tensor) -> Tensor:
    """How large the tokens are: a step function, which has no useful gradient."""
    return (data.sum((1, 2)) * 1000).round()


def modes() -> MixtureOracle:
    return MixtureOracle(Cosine(), torch.ones(2) / 2, torch.tensor([[[1.0]], [[-1.0]]]), torch.full((2,), 0.3))


def run(oracle: MixtureOracle, solver: Solver, seeds: list[int], steps: int = 10) -> tuple[Tensor, list[Mapping[str, Mapping[str, float]]]]:
    """The samples and receipts of each row."""
    engine = Engine(oracle, rows=len(seeds))
    engine.add(Request(oracle.layout(seeds), oracle.conditions([{}] * len(seeds)), Sampling(steps=steps, solver=solver)))
    done = sorted(engine.stream(), key=lambda each: each.row)
    return torch.cat([each.state["tokens"].values for each in done]), [each.receipts for each in done]


def test_one_candidate_is_the_solver_itself() -> None:
    still = ValueSearch.model_validate({"value": worth, **(ValueSearch.neutral or {})})
    same, receipts = run(modes(), still, [0, 1, 2])
    plain, fewest = run(modes(), Ancestral(), [0, 1, 2])
    assert torch.equal(same, plain)
    assert receipts == fewest
    assert still.calls == 1


@pytest.mark.parametrize(("inner", "inners"), [(Ancestral(), 1), (Langevin(solver=Ancestral()), 2)], ids=["ancestral", "langevin"])
def test_rows_are_alone_together_and_counted(inner: Solver, inners: int) -> None:
    solver = ValueSearch(value=worth, candidates=3, solver=inner)
    assert solver.calls == 1 + 3 * inners
    oracle = modes()
    together, receipts = run(oracle, solver, [0, 1, 2])
    assert [each["engine"]["network_calls"] for each in receipts] == [9 * solver.calls + 1] * 3
    assert oracle.calls == 3 * (9 * solver.calls + 1)
    assert [each["value-search"]["searched"] for each in receipts] == [9] * 3
    assert all(each.get("langevin", {}) == ({"steps": 27} if inners == 2 else {}) for each in receipts)
    for row in range(3):
        torch.testing.assert_close(run(modes(), solver, [row])[0][0], together[row], atol=1e-5, rtol=0)


def test_more_candidates_are_worth_more() -> None:
    share = [float((run(modes(), ValueSearch(value=worth, candidates=k), list(range(100)))[0] > 0).float().mean()) for k in (1, 2, 6)]
    assert 0.35 < share[0] < 0.65, "without a choice both modes are as likely"
    assert share[0] + 0.1 < share[1]
    assert share[2] > 0.95


def test_of_one_gaussian_it_takes_the_largest_noise() -> None:
    """The clean prediction rises with the state, so the best candidate is that of the largest draw: ancestral steps by hand."""
    oracle = MixtureOracle.gauss(Cosine(), torch.full((1, 1), 0.3), 0.5)
    values, receipts = run(oracle, ValueSearch(value=worth, candidates=3), [0, 1, 2, 3], steps=6)
    changed = torch.zeros(4)
    path, state = Cosine(), oracle.layout([0, 1, 2, 3])
    times = Sampling(steps=6).schedule.times(6, path, path.start("data")).float()
    x = path.corrupt(torch.zeros(4, 1, 1), state.noise("tokens", -1, 0), times[0])
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        data = oracle.posterior_mean(x, t.expand(4, 1, 1), torch.ones(4, 1))
        noise, which = torch.stack([state.noise("tokens", i, 0, f"/candidate {k}" if k else "") for k in range(3)]).max(0)
        changed += (which.flatten() > 0) & (s > 0)
        up = path.sigma(s) * (1 - (path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))) ** 2).sqrt()
        x = path.alpha(s) * data + (path.sigma(s) ** 2 - up**2).sqrt() * path.to_noise(data, x, t) + up * noise
    torch.testing.assert_close(values, x, atol=2e-3, rtol=0)
    assert [each["value-search"] for each in receipts] == [{"searched": 5, "changed": count} for count in changed.tolist()]


def test_where_values_are_equal_the_solver_has_its_own_step() -> None:
    same, receipts = run(modes(), ValueSearch(value=lambda data: data.new_zeros(len(data)), candidates=4), [0, 1])
    assert torch.equal(same, run(modes(), Ancestral(), [0, 1])[0])
    assert [each["value-search"] for each in receipts] == [{"searched": 9}] * 2


def test_a_solver_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="chooses among random steps, and 'ddim' makes none: take 'ancestral'"):
        ValueSearch(value=worth, solver=DDIM())
