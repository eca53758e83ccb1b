"""Small generators for tests: of a denoiser that is known exactly, and of networks with arbitrary weights."""

from typing import Any

import torch

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.generation import RowGenerator
from anylatent.paths.base import Path
from anylatent.paths.rectified import Rectified
from anylatent.paths.vocabulary import Masked
from anylatent.sampling import Sampling
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.euler import Euler
from anylatent.spec import StreamSpec
from anylatent.testing.backbones import shaken, two_stream_specs
from anylatent.testing.oracles import MixtureOracle

FIELD, CLOUD = two_stream_specs()


def mixture(**sampling: Any) -> tuple[MixtureOracle, RowGenerator]:
    """Of three narrow Gaussians: few steps miss them."""
    oracle = MixtureOracle(Rectified(), torch.ones(3), torch.tensor([-3.0, 0.5, 3.0]).view(3, 1, 1).expand(-1, 2, 1), torch.full((3,), 0.3))
    return oracle, RowGenerator(oracle, Sampling.model_validate({"steps": 5, "solver": Euler(), "batch": 96} | sampling), noised=False)


def network(specs: tuple[StreamSpec, ...] = (FIELD, CLOUD), paths: dict[str, Path] | None = None, **sampling: Any) -> RowGenerator:
    """With arbitrary weights, of two streams."""
    torch.manual_seed(0)
    backbone = DiTConfig(depth=1, width=8, heads=1).build(specs, False)
    kinds = {spec.name: (paths or {}).get(spec.name, Rectified()) for spec in specs}
    corruptions = {name: Corruption(path, "logits" if isinstance(path, Masked) else "velocity") for name, path in kinds.items()}
    denoiser = Denoiser(backbone, Conditions(8, {}), corruptions)
    shaken(denoiser)
    request = Sampling.model_validate({"steps": 3, "solver": DPMpp2M()} | sampling)
    return RowGenerator(denoiser.eval().requires_grad_(False), request, noised=False)
