"""What a run begins with, in place of nothing."""

from pydantic import Field

from anylatent.node import Node
from anylatent.sampling import Sampling
from anylatent.solvers.base import Solver
from anylatent.solvers.dpmpp import DPMpp2M


class Pairs(Sampling):
    """Samples that a run makes for another one to learn from, each with the noise that it was made of."""

    count: int = Field(default=10_000, ge=1, description="Samples to make.")
    steps: int = Field(default=32, ge=1, description="Steps of the solver.")
    solver: Solver = DPMpp2M()


class Start(Node):
    """Another run to go on from: its tokenizer is taken over, and training begins with its weights.

    Without `pairs` this is fine-tuning, on the recipe's own data. With `pairs` the run learns from what the other one makes; with
    the coupling `stored` each of these samples has the noise that it was made of (reflow: Liu et al. 2022, 2209.03003, algorithm 1).
    """

    run: str = Field(min_length=1, description="The folder of the other run.")
    weights: str = Field(default="", description="Which of its weights: trained, or ema-<decay>; empty: those it is sampled with.")
    pairs: Pairs | None = Field(default=None, description="Learn from samples of it, in place of the data.")
