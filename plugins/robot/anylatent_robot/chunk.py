"""A sample: what was observed, and the actions that an expert took then."""

from dataclasses import dataclass

from anylatent.types import Float, Tensor


@dataclass(frozen=True, eq=False)
class Chunk:
    """The last observations and the chunk of actions that follows the newest of them, in raw units, float32.

    `observations` `(history, channels)`, oldest first; `actions` `(horizon, channels)`: the first is taken at the newest
    observation. Both advance by `1 / hz` seconds.
    """

    observations: Float[Tensor, "history observed"]
    actions: Float[Tensor, "horizon acted"]
    hz: float
    """Control steps a second."""
    task: str = ""
    caption: str = ""
    """The task in words."""


@dataclass(frozen=True, eq=False)
class Episode:
    """A demonstration: row t of `observations` is what was seen when row t of `actions` was taken. Raw units, float32."""

    observations: Float[Tensor, "steps observed"]
    actions: Float[Tensor, "steps acted"]
    id: str
    task: str = ""
    caption: str = ""

    def chunk(self, step: int, history: int, horizon: int, hz: float) -> Chunk:
        """The chunk at a step. Before the beginning stands the first observation, after the end the last action."""
        seen = [max(0, step - back) for back in reversed(range(history))]
        done = [min(len(self.actions) - 1, step + ahead) for ahead in range(horizon)]
        return Chunk(self.observations[seen], self.actions[done], hz, self.task, self.caption)
