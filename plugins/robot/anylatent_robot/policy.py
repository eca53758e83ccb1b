"""A trained run as a policy: chunks of actions from observations, executed with a receding horizon."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from anylatent.metrics.base import Generate
from anylatent.random import seed_of
from anylatent.types import Float, Tensor
from anylatent_robot.chunks_tokenizer import ChunksTokenizer

if TYPE_CHECKING:
    from anylatent.run import Run


@dataclass
class Latency:
    """Seconds that each control step took (`steps`), and those among them that made a chunk (`chunks`)."""

    steps: list[float] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"a {name} {_quantile(x, 0.5):.2f} ms median, {_quantile(x, 0.95):.2f} ms p95 (n = {len(x)})" for name, x in self._named()]
        return "; ".join(parts) or "nothing was done yet"

    def _named(self) -> list[tuple[str, list[float]]]:
        return [(name, x) for name, x in (("control step", self.steps), ("chunk", self.chunks)) if x]


def _quantile(seconds: Sequence[float], q: float) -> float:
    return 1000 * float(torch.tensor(seconds, dtype=torch.float64).quantile(q))


class _Row:
    """One episode: what it has seen, what it still wants to do, and the chunk that this is from."""

    def __init__(self, seed: int, condition: Mapping[str, Any], history: int) -> None:
        self.seed, self.condition = seed, condition
        self.seen: deque[Tensor] = deque(maxlen=history)
        self.queue: list[Tensor] = []
        self.chunk: Tensor | None = None
        self.chunks = 0

    def see(self, observation: Tensor) -> None:
        missing = (self.seen.maxlen or 1) - len(self.seen)
        self.seen.extend([observation] * (missing or 1))  # before the first observation it was as it is


class Policy:
    """Acts by the engine: a chunk of H actions is made from the last observations, and its first `execute` are done.

    Receding horizon as in Diffusion Policy (Chi et al. 2023, 2303.04137, section 3.1). With `warm` < 1 each chunk after an
    episode's first begins from the rest of the one before, noised to that time, and `later` (say, of fewer steps) makes it.
    Many episodes are rows of one batch, and each acts as it would alone: a row's noise is of its seed and chunk number.
    """

    def __init__(
        self,
        tokenizer: ChunksTokenizer,
        generate: Generate,
        execute: int | None = None,
        warm: float = 1.0,
        later: Generate | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(tokenizer, ChunksTokenizer):
            raise ValueError(f"a policy needs a run with the tokenizer 'robot.chunks', given {type(tokenizer).__name__}")
        execute = execute or max(1, tokenizer.horizon // 2)
        if not 1 <= execute <= tokenizer.horizon:
            raise ValueError(f"execute {execute}: expected 1 to {tokenizer.horizon}, the actions of a chunk")
        if not 0 < warm <= 1:
            raise ValueError(f"warm {warm}: expected a time above 0 (keep the last chunk) up to 1 (forget it)")
        self.tokenizer, self.execute, self.warm = tokenizer, execute, warm
        self.generate, self.later = generate, later or generate
        self.names = names
        self.latency = Latency()
        self._rows: list[_Row] = []

    @staticmethod
    def of(run: "Run", execute: int | None = None, warm: float = 1.0, later_steps: int | None = None, **changes: Any) -> "Policy":
        """The policy of a run. `changes`: of its `Sampling` (`steps`, `solver`, `guidance` …); `later_steps`: those of warm chunks.

        The denoiser is loaded once. Errors: `ValueError` if the run's tokenizer makes no chunks.
        """
        fewer: dict[str, Any] = changes | {"steps": later_steps}
        later = run.generator(**fewer) if later_steps else None
        tokenizer: Any = run.tokenizer
        return Policy(tokenizer, run.generator(**changes), execute, warm, later, list(run.recipe.conditions))

    def begin(self, seeds: Sequence[int], conditions: Sequence[Mapping[str, Any]]) -> None:
        """New episodes, one a row; of the conditions those that the run knows are used."""
        self._rows = [
            _Row(seed, {name: x for name, x in row.items() if self.names is None or name in self.names}, self.tokenizer.history)
            for seed, row in zip(seeds, conditions, strict=True)
        ]

    def act(self, observations: Float[Tensor, "rows observed"], rows: Sequence[int] | None = None) -> Float[Tensor, "rows acted"]:
        """The next action of each row, in raw units. `rows`: which episodes these are; None: all.

        Errors: `ValueError` for observations that are not finite, or of other channels.
        """
        started = time.perf_counter()
        rows = range(len(self._rows)) if rows is None else rows
        if observations.shape != (len(rows), self.tokenizer.observed) or not observations.isfinite().all():
            expected = f"{len(rows)} x {self.tokenizer.observed} finite numbers"
            raise ValueError(f"expected observations of {expected}, given {tuple(observations.shape)} (call `begin` before the first)")
        acting = [self._rows[row] for row in rows]
        for row, observation in zip(acting, observations.float()):
            row.see(observation)
        self._plan([row for row in acting if not row.queue and row.chunk is None], self.generate, 1.0)
        self._plan([row for row in acting if not row.queue], self.later if self.warm < 1 else self.generate, self.warm)
        actions = torch.stack([row.queue.pop(0) for row in acting])
        self.latency.steps.append(time.perf_counter() - started)
        return actions

    def _plan(self, rows: list[_Row], generate: Generate, begin: float) -> None:
        """A new chunk for these rows, in one batch."""
        if not rows:
            return
        started = time.perf_counter()
        seeds = torch.tensor([seed_of("chunk", row.seed, row.chunks) for row in rows])
        observations = torch.stack([torch.stack(list(row.seen)) for row in rows])
        guess = torch.stack([self._rest(row.chunk) for row in rows if row.chunk is not None]) if begin < 1 else None
        state = self.tokenizer.start(observations, seeds, guess)
        chunks = self.tokenizer.decode_actions(generate(state, [row.condition for row in rows], begin)).cpu()
        for row, chunk in zip(rows, chunks):
            row.chunk, row.chunks, row.queue = chunk, row.chunks + 1, list(chunk[: self.execute])
        self.latency.chunks.append(time.perf_counter() - started)

    def _rest(self, chunk: Tensor) -> Tensor:
        """What the last chunk would go on with; its last action stands for what it did not think of."""
        return torch.cat((chunk[self.execute :], chunk[-1:].expand(self.execute, -1)))
