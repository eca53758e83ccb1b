"""How long the policy thinks."""

import time
from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import resamples
from anylatent.types import Tensor


class Latency(Metric, kind="robot.latency"):
    """Milliseconds to make one chunk for `rows` robots in one batch, on this machine: the median and the 95th percentile.

    The intervals are by bootstrap over the chunks. Divide by `execute` for the mean cost of a control step: the steps
    between two chunks cost next to nothing. Other than all other measures, these differ from time to time.
    """

    chunks: int = Field(default=100, ge=10, description="How many are timed, after three that are not.")
    rows: int = Field(default=1, ge=1, description="Robots that are served at once.")

    min_n: ClassVar[int] = 1
    asks_denoiser: ClassVar[bool] = True

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Two measures. Errors: `TooFewSamples`; `ValueError` without a model."""
        from anylatent_robot.success import policy_of

        self.require(len(evidence.samples))
        policy = policy_of(evidence, self.kind, 1)
        seen = torch.stack([evidence.test[i % len(evidence.test)].sample.observations[-1] for i in range(self.rows)])
        policy.begin(range(self.rows), [evidence.test[i % len(evidence.test)].conditions for i in range(self.rows)])
        for _ in range(3 + self.chunks):
            policy.act(seen)
        milliseconds = 1000 * torch.tensor(policy.latency.chunks[3:], dtype=torch.float64)
        step = time.get_clock_info("perf_counter").resolution * 1000
        note = f"{self.rows} robot{'s' * (self.rows > 1)} at once, {torch.get_num_threads()} thread(s); the clock ticks every {step:.2g} ms"
        return [_measure(f"chunk latency {name} (ms)", milliseconds, q, note) for name, q in (("median", 0.5), ("p95", 0.95))]


def _measure(name: str, milliseconds: Tensor, q: float, note: str) -> Measure:
    drawn = torch.stack([milliseconds[index].quantile(q) for index in resamples(len(milliseconds), 500, "latency")])
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
    value = float(milliseconds.quantile(q))
    return Measure(name, value, min(low, value), max(high, value), len(milliseconds), "lower", note=note)
