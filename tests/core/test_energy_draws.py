"""Loss-guided diffusion with several draws, against the closed form of quadratic energies."""

from dataclasses import replace

import pytest
import torch

from anylatent.corrections.energy import EnergyGuidance
from anylatent.energies import FunctionEnergy
from anylatent.generation import RowGenerator
from anylatent.measurements.base import Layout
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.heun import Heun
from anylatent.testing.guidance import here_at
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Tensor

BEND = 4.0


def bowl(x: Tensor, layout: Layout) -> Tensor:
    """E = 4 x^2 / 2, of valid tokens."""
    return BEND / 2 * (x.square() * layout.mask[..., None]).sum((1, 2))


BOWL = FunctionEnergy(function=bowl)


def test_many_draws_are_the_posterior_of_a_quadratic_energy() -> None:
    """Of N(0, 1) data, E[x0 | x_t] exp(-E) is m / (1 + 4 V), V = Var[x0 | x_t]; at the mean alone it would be m (1 - 4 V)."""
    path, t = Rectified(), torch.tensor([0.3, 0.5, 0.8])[:, None, None]
    x = torch.tensor([0.8, -0.6, 0.9])[:, None, None]
    alpha, sigma = path.alpha(t), path.sigma(t)
    spread = sigma**2 / (alpha**2 + sigma**2)
    mean = alpha * x / (alpha**2 + sigma**2)
    quantiles = torch.special.ndtri((torch.arange(256) + 0.5) / 256)
    found = {}
    for draws in (1, 256):
        here = here_at(path, x, t, noise=lambda k: quantiles[k].expand_as(x))
        found[draws] = EnergyGuidance(energy=BOWL, through=False, draws=draws).correct(mean, here)
    torch.testing.assert_close(found[1], mean * (1 - BEND * spread))
    torch.testing.assert_close(found[256], mean / (1 + BEND * spread), atol=2e-3, rtol=0)
    assert ((found[1] - mean / (1 + BEND * spread)).abs() > 0.05).all(), "which the mean alone is far from"


def test_samples_have_the_tilted_spread() -> None:
    """N(0, 1) exp(-4 x^2 / 2) is N(0, 1/5): standard deviation 0.447. One draw pulls too hard: beyond the middle at high noise."""
    oracle = MixtureOracle.gauss(Rectified(), torch.zeros(1, 1), 1.0)
    stds = []
    for draws in (1, 4, 32):
        sampling = Sampling(steps=8, solver=Heun(), batch=200, corrections=(EnergyGuidance(energy=BOWL, draws=draws),))
        stds.append(float(RowGenerator(oracle, sampling, False)(oracle.layout(range(200)), [{}] * 200)["tokens"].values.std()))
    assert stds[0] < 0.2
    assert stds[2] == pytest.approx(0.2**0.5, abs=0.05)
    assert abs(stds[1] - 0.2**0.5) < abs(stds[0] - 0.2**0.5)


def test_draws_are_a_rows_own_and_not_of_given_tokens() -> None:
    oracle = MixtureOracle.gauss(Rectified(), torch.zeros(3, 1), 1.0)
    sampling = Sampling(steps=4, corrections=(EnergyGuidance(energy=BOWL, draws=3, through=False),))
    state = oracle.layout([4, 5, 6])
    keep = torch.tensor([[True, False, False]]).expand(3, -1)
    state = state.with_values({"tokens": torch.full((3, 3, 1), 0.7)}).with_kept("tokens", keep)
    together = RowGenerator(oracle, sampling, False)(state, [{}] * 3)["tokens"].values
    assert torch.equal(together[:, 0], torch.full((3, 1), 0.7))
    for row in range(3):
        alone = RowGenerator(oracle, sampling, False)(state.select([row]), [{}])["tokens"].values
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)
    path, x = Rectified(), torch.zeros(1, 2, 1)
    with pytest.raises(LookupError, match="draw 0 of noise was asked for of a `Here` made by hand without `noise`"):
        EnergyGuidance(energy=BOWL, draws=2).correct(x, here_at(path, x, torch.full((1, 1, 1), 0.5)))


def test_given_tokens_are_drawn_at_none_but_their_place() -> None:
    """What is free moves as if what is given were not there."""
    path, x, t = Rectified(), torch.tensor([[[0.7], [0.8]]]), torch.full((1, 2, 1), 0.5)
    z = torch.randn(8, 1, 2, 1, generator=torch.Generator().manual_seed(0))
    many = EnergyGuidance(energy=BOWL, draws=8, through=False)
    here = replace(here_at(path, x, t, noise=lambda k: z[k]), keep=torch.tensor([[True, False]]))
    alone = many.correct(x[:, 1:], here_at(path, x[:, 1:], t[:, 1:], noise=lambda k: z[k][:, 1:]))
    torch.testing.assert_close(many.correct(x, here)[:, 1:], alone)


def test_a_function_that_mixes_rows_is_refused() -> None:
    x = torch.ones(2, 3, 1)
    layout = Layout.of(here_at(Rectified(), x, torch.full((2, 1, 1), 0.5)))
    for function in (lambda x, layout: x.square().sum(), lambda x, layout: x.square().sum((1, 2))[:, None]):
        with pytest.raises(ValueError, match=r"a function of 2 rows is to give a number a row, a tensor \(2,\): it gave \("):
            FunctionEnergy(function=function).value(x, layout)
    with pytest.raises(ValueError, match="it gave a float"):
        FunctionEnergy(function=lambda x, layout: 1.0).value(x, layout)
