"""How far the policy's actions are from the expert's, without a world."""

from collections.abc import Sequence
from typing import ClassVar

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric
from anylatent.metrics.intervals import mean_interval
from anylatent.random import seed_of
from anylatent.types import Float, Tensor
from anylatent_robot.chunk import Chunk


class ActionError(Metric, kind="robot.action-error"):
    """Mean absolute difference between made and expert's chunks, for observations of held-out episodes, in action units.

    The second measure is a control: the same chunks against those of another held-out observation. Chunks of one episode
    are alike, so the interval (bootstrap over chunks) is too narrow for another set of episodes.
    """

    min_n: ClassVar[int] = 10
    asks_denoiser: ClassVar[bool] = True

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Two measures. Errors: `TooFewSamples`; `ValueError` without a model."""
        from anylatent_robot.success import policy_of

        count = min(len(evidence.samples), len(evidence.test))
        self.require(count)
        policy = policy_of(evidence, self.kind, 1)
        records = [evidence.test[i * len(evidence.test) // count] for i in range(count)]
        chunks: list[Chunk] = [record.sample for record in records]
        conditions = [{name: x for name, x in record.conditions.items() if name in (policy.names or ())} for record in records]
        seeds = torch.tensor([seed_of(self.kind, evidence.seed, i) for i in range(count)])
        state = policy.tokenizer.start(torch.stack([chunk.observations for chunk in chunks]), seeds)
        made = policy.tokenizer.decode_actions(policy.generate(state, conditions)).cpu()
        return [
            _measure("action error", made, chunks, evidence),
            _measure("action error (another's)", made, [chunks[(i + count // 2) % count] for i in range(count)], evidence),
        ]


def _measure(name: str, made: Float[Tensor, "rows horizon acted"], real: Sequence[Chunk], evidence: Evidence) -> Measure:
    errors = (made - torch.stack([chunk.actions for chunk in real])).abs().mean((1, 2))
    low, high = mean_interval(errors, evidence.seed)
    control = name != "action error"
    note = "the control: chunks of other observations" if control else ""
    fingerprint = evidence.test.fingerprint()
    return Measure(name, float(errors.double().mean()), low, high, len(errors), "neither" if control else "lower", None, fingerprint, note)
