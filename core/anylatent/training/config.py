"""The numbers of a training."""

from typing import Literal

from pydantic import Field

from anylatent.node import Node


class Training(Node):
    """Steps, batch, optimizer (AdamW), averages, checkpoints. Through Hugging Face Accelerate: one process or many."""

    steps: int = Field(3000, ge=0, description="Optimizer steps.")
    batch: int = Field(128, ge=1, description="Samples a step, over all processes.")
    accumulate: int = Field(1, ge=1, description="Parts that a batch is computed in.")
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0, description="Steps of linear warm-up.")
    decay: Literal["constant", "cosine"] = Field("constant", description="What the learning rate does after warm-up.")
    weight_decay: float = Field(0.0, ge=0, description="Of matrices; not of biases and norms.")
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    ema: tuple[float, ...] = Field((0.99, 0.999), description="Decays of the averages of the weights that are kept.")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 autocast where the device computes it fast.")
    checkpoint: int = Field(500, ge=1, description="Steps between checkpoints.")
    preview: int = Field(16, ge=0, description="Samples made at each checkpoint, to watch; 0: none.")
    log: int = Field(10, ge=1, description="Steps between lines of metrics.jsonl.")
