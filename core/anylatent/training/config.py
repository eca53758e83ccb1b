"""The numbers of a training."""

from typing import Annotated, Literal

from pydantic import Field

from anylatent.node import Node

Decay = Annotated[float, Field(ge=0, lt=1)]


class Training(Node):
    """Steps, batch, optimizer (AdamW), averages, checkpoints. Through Hugging Face Accelerate: one process or many."""

    steps: int = Field(default=3000, ge=1, description="Optimizer steps.")
    batch: int = Field(default=128, ge=1, description="Samples a step, over all processes.")
    accumulate: int = Field(default=1, ge=1, description="Parts that a batch is computed in.")
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=100, ge=0, description="Steps of linear warm-up.")
    decay: Literal["constant", "cosine"] = Field(default="constant", description="What the learning rate does after warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, description="Of matrices; not of biases and norms.")
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    clip: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    ema: tuple[Decay, ...] = Field(default=(0.99, 0.999), description="Decays of the averages of the weights that are kept.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 autocast where the device computes it fast."
    )
    checkpoint: int = Field(default=500, ge=1, description="Steps between checkpoints.")
    preview: int = Field(default=16, ge=0, description="Samples made at each checkpoint, to watch; 0: none.")
    log: int = Field(default=10, ge=1, description="Steps between lines of metrics.jsonl.")
