"""One forward of a DiT-S/2 (depth 12, width 384, 6 heads, 256 tokens, 8 rows): ours against diffusers', one thread.

python -m benchmarks.forward [ROUNDS]
"""

import sys

import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser, ModulationCache
from anylatent.denoiser_config import DiTConfig
from anylatent.nn.kernels import linear_kernel
from anylatent.paths import Rectified
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from benchmarks.timing import medians, show

ROWS, SIDE = 8, 16


def our_model() -> tuple[Denoiser, State]:
    """The same sizes, with random weights that do something."""
    spec = StreamSpec(name="tokens", width=16, axes=(AxisSpec(name="y", unit="1"), AxisSpec(name="x", unit="1")))
    conditions = Conditions(384, {"label": ClassConfig().build(384, list(range(1000)))})
    backbone = DiTConfig(depth=12, width=384, heads=6).build((spec,), False)
    denoiser = Denoiser(backbone, conditions, {"tokens": Corruption(Rectified(), "velocity")})
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    place = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), -1).flatten(0, 1).float()
    stream = Stream.of(torch.randn(ROWS, SIDE * SIDE, 16), place.expand(ROWS, -1, -1))
    state = State.of({"tokens": stream}).with_time({"tokens": torch.full((ROWS, SIDE * SIDE), 0.5)})
    return denoiser.eval().requires_grad_(False), state


def main(rounds: int) -> None:
    """Print milliseconds and ratios."""
    from diffusers import DiTTransformer2DModel

    torch.set_num_threads(1)
    denoiser, state = our_model()
    cache = ModulationCache(denoiser.backbone)
    condition = cache.enter(denoiser.conditions([{"label": i} for i in range(ROWS)]))
    sizes = {"num_attention_heads": 6, "attention_head_dim": 64, "in_channels": 4, "out_channels": 4, "num_layers": 12, "sample_size": 32}
    theirs = DiTTransformer2DModel(**sizes).eval().requires_grad_(False)
    x, t, labels = torch.randn(ROWS, 4, 32, 32), torch.full((ROWS,), 500), torch.arange(ROWS)

    @torch.no_grad()
    def run_ours(bf16: bool = False) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            denoiser(state, condition, None, cache)

    @torch.no_grad()
    def run_theirs(bf16: bool = False) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            theirs(x, timestep=t, class_labels=labels)

    print(f"linear kernel: {linear_kernel()}")
    contestants = {
        "diffusers DiT float32": run_theirs,
        "anylatent DiT float32": run_ours,
        "diffusers DiT bfloat16 autocast": lambda: run_theirs(True),
        "anylatent DiT bfloat16 autocast": lambda: run_ours(True),
    }
    show(medians(contestants, rounds), base="diffusers DiT float32")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
