"""What every correction must hold to, and the exact posterior of an oracle given a measurement."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
import torch

from anylatent.corrections.base import Correction
from anylatent.engine import Engine, Request
from anylatent.known import Known
from anylatent.measurements.base import Layout, Measurement
from anylatent.paths.rectified import Rectified
from anylatent.perception.token_classifier import TokenClassifier
from anylatent.sampling import Sampling
from anylatent.state import State
from anylatent.testing.guidance import here_at
from anylatent.testing.oracles import MixtureOracle
from anylatent.types import Float, Tensor


@dataclass(frozen=True)
class Posterior:
    """A mixture of K Gaussians over samples `(N, C)`, flattened to D numbers; all float64."""

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components numbers"]
    covariances: Float[Tensor, "components numbers numbers"]

    @property
    def mean(self) -> Float[Tensor, " numbers"]:
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[Tensor, "numbers numbers"]:
        away = self.means - self.mean
        return (self.weights[:, None, None] * (self.covariances + away[:, :, None] * away[:, None])).sum(0)


def matrix_of(measurement: Measurement, layout: Layout) -> Float[Tensor, "measured numbers"]:
    """A linear measurement of the layout's first row as a matrix, without the rows where nothing is measured."""
    tokens, width = layout.mask.shape[1], layout.spec.width
    basis = torch.eye(tokens * width, dtype=torch.float64).reshape(-1, tokens, width)
    many = Layout(layout.spec, layout.mask[:1].expand(len(basis), -1), layout.positions[:1].expand(len(basis), -1, -1))
    support = measurement.support(basis[:1], Layout(layout.spec, layout.mask[:1], layout.positions[:1]))[0].flatten() > 0
    return measurement.apply(basis, many).flatten(1)[:, support].mT


def posterior(
    oracle: MixtureOracle, matrix: Float[Tensor, "measured numbers"], y: Float[Tensor, " measured"], noise: Float[Tensor, " measured"]
) -> Posterior:
    """p(x0 | y) for y = A x0 + noise z: each component updated (Bishop 2006, eq. 2.116), and weighed by what it says of y."""
    means, stds = oracle.means.double().flatten(1), oracle.stds.double()
    found_means, covariances, logs = [], [], []
    for mean, std, weight in zip(means, stds, oracle.weights.double(), strict=True):
        spread = std**2 * matrix @ matrix.mT + torch.diag(noise.double() ** 2)
        gain = std**2 * torch.linalg.solve(spread, matrix).mT
        missed = y.double() - matrix @ mean
        found_means.append(mean + gain @ missed)
        covariances.append(std**2 * torch.eye(len(mean), dtype=torch.float64) - std**2 * gain @ matrix)
        logs.append(weight.log() + torch.distributions.MultivariateNormal(matrix @ mean, spread).log_prob(y.double()))
    return Posterior(torch.stack(logs).softmax(0), torch.stack(found_means), torch.stack(covariances))


def exact_prediction(
    oracle: MixtureOracle, measurement: Measurement, layout: Layout, y: Tensor, x: Float[Tensor, "tokens width"], t: Tensor
) -> Float[Tensor, "tokens width"]:
    """E[x0 | x_t, y] of one row: x_t is a second measurement, of all of alpha x0 with noise sigma."""
    matrix = matrix_of(measurement, layout)
    support = measurement.support(x[None], layout).flatten() > 0
    alpha, sigma = oracle.gaussian.alpha(t.double()).item(), oracle.gaussian.sigma(t.double()).item()
    both = torch.cat((matrix, alpha * torch.eye(x.numel(), dtype=torch.float64)))
    values = torch.cat((y.flatten()[support].double(), x.flatten().double()))
    noise = torch.cat((torch.full((len(matrix),), max(measurement.noise, 1e-4)), torch.full((x.numel(),), sigma)))
    return posterior(oracle, both, values, noise).mean.reshape(x.shape).to(x.dtype)


@dataclass
class CorrectionCase:
    """A correction at work, and what a request gives for it, by name: `(rows, …)` of 4 rows of 4 tokens of width 2."""

    correction: Correction
    neutral: Correction | str
    """The same kind with the setting that changes nothing; or why there is none."""
    measured: Mapping[str, Tensor] = field(default_factory=dict)
    classifiers: Mapping[str, TokenClassifier] = field(default_factory=dict)
    """What it asks, by condition: of streams such as the oracle's. The 4 rows are asked the classes 0, 1, none and 1."""


class CorrectionContract:
    """Subclass it and give one fixture:

    class TestMine(CorrectionContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return CorrectionCase(MyCorrection(scale=2), MyCorrection(scale=0))  # or, in its place, why nothing is neutral
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> CorrectionCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def oracle(cls) -> MixtureOracle:
        generator = torch.Generator().manual_seed(0)
        return MixtureOracle(Rectified(), torch.ones(3) / 3, torch.randn(3, 4, 2, generator=generator), torch.full((3,), 0.3))

    def _sample(self, oracle: MixtureOracle, case: CorrectionCase, corrections: tuple[Correction, ...], seeds: list[int]) -> State:
        conditions = oracle.conditions.null(len(seeds))
        measured = {"tokens": {name: values[seeds] for name, values in case.measured.items()}}
        sampling = Sampling(steps=6, corrections=corrections)
        classes = {name: torch.tensor([0, 1, -1, 1])[seeds] for name in case.classifiers}
        request = Request(oracle.layout(seeds), conditions, sampling, known=Known(measured=measured), classes=classes)
        engine = Engine(oracle, classifiers=case.classifiers)
        engine.add(request)
        return State.cat([done.state for done in sorted(engine.stream(), key=lambda done: done.row)])

    def _neutral(self, case: CorrectionCase) -> Correction:
        if isinstance(case.neutral, str):
            assert case.correction.neutral is None, f"'{case.correction.kind}' says what is neutral: give it"
            assert case.neutral, "say why nothing is neutral"
            pytest.skip(f"'{case.correction.kind}' is never neutral: {case.neutral}")
        assert case.correction.neutral is not None, f"'{case.correction.kind}' must say what is neutral, for the catalogue"
        return case.neutral

    def test_neutral_is_exact(self, oracle: MixtureOracle, case: CorrectionCase) -> None:
        """Bit for bit the uncorrected sample, and nothing is said to have been done."""
        neutral = self._neutral(case)
        plain, same = (self._sample(oracle, case, chosen, [0, 1, 2, 3])["tokens"].values for chosen in ((), (neutral,)))
        assert torch.equal(plain, same)

    @pytest.mark.parametrize("prior", ["normal", "normal_centred"])
    def test_neutral_leaves_predictions_alone(self, case: CorrectionCase, prior: Literal["normal", "normal_centred"]) -> None:
        """Bit for bit, whatever they are: centred or not, beside padding and given tokens; and nothing is differentiated for it."""
        neutral = self._neutral(case)
        assert not neutral.gradient
        x, data = torch.randn(2, 4, 4, 2, generator=torch.Generator().manual_seed(0)).unbind()
        here = here_at(Rectified(), x, torch.tensor([0.1, 0.4, 0.6, 0.9])[:, None, None], measured=case.measured, memory=neutral.memory(x))
        mask, keep = here.mask.clone(), here.keep.clone()
        mask[1, 2:], keep[2, :2] = False, True
        here = replace(here, spec=here.spec.model_copy(update={"prior": prior}), mask=mask, keep=keep)
        assert torch.equal(neutral.correct(data, here), data)

    def test_it_changes_samples(self, oracle: MixtureOracle, case: CorrectionCase) -> None:
        plain, made = (self._sample(oracle, case, chosen, [0, 1, 2, 3])["tokens"].values for chosen in ((), (case.correction,)))
        assert made.isfinite().all()
        assert not made.requires_grad
        assert not torch.equal(plain, made)

    def test_rows_are_alone_together(self, oracle: MixtureOracle, case: CorrectionCase) -> None:
        together = self._sample(oracle, case, (case.correction,), [0, 1, 2, 3])["tokens"].values
        for row in range(4):
            alone = self._sample(oracle, case, (case.correction,), [row])["tokens"].values
            torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)

    def test_what_it_goes_by_must_be_given(self, oracle: MixtureOracle, case: CorrectionCase) -> None:
        if not case.correction.measures:
            return
        with pytest.raises(ValueError, match="goes by what was measured"):
            self._sample(oracle, CorrectionCase(case.correction, ""), (case.correction,), [0])
