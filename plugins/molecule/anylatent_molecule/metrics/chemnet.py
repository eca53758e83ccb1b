"""The Fréchet ChemNet distance. Its network is in the package `fcd` (LGPL-3), which is optional."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from pydantic import Field

from anylatent.files import DamagedFile, read_tensors, write_tensors
from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Features, Measure, Metric, TooFewSamples
from anylatent.metrics.frechet import Frechet
from anylatent.types import Float, Tensor
from anylatent_molecule.metrics.validity import left_out, valid

KEPT = 1000
"""Features of at least so many molecules are kept on disk: those of the reference set."""

BATCH = 128


class ChemNet(Features, kind="molecule.chemnet"):
    """The 512 activations of ChemNet, a network trained to predict bioactivities (Preuer et al. 2018, arXiv:1803.09518)."""

    def compute(self, samples: Sequence[Any], evidence: Evidence) -> Float[Tensor, "samples features"]:
        """Errors: `ModuleNotFoundError` says how to install the network; `ValueError` names a sample that is not valid."""
        for index, sample in enumerate(samples):
            if not sample.valid:
                raise ValueError(f"sample {index} is no molecule ('{sample.written[:60]}'): ChemNet reads valid ones only")
        texts = [sample.smiles for sample in samples]
        if len(texts) < KEPT:
            return _activations(texts)
        digest = hashlib.sha256("\n".join([self.fingerprint(evidence), *texts]).encode()).hexdigest()
        path = evidence.cache / "chemnet" / f"{digest[:24]}.safetensors"
        try:
            return read_tensors(path)["features"]
        except (FileNotFoundError, DamagedFile):
            features = _activations(texts)
            write_tensors(path, {"features": features})
            return features

    def fingerprint(self, evidence: Evidence) -> str:
        require()
        return f"fcd {version('fcd')}"


class ChemNetDistance(Metric, kind="molecule.fcd"):
    """Fréchet ChemNet distance between the valid samples and real molecules (Preuer et al. 2018, arXiv:1803.09518).

    It is core's `frechet` on `molecule.chemnet` features: biased upward at few samples, with the floor that as many real
    molecules reach. Needs the optional package `fcd`.
    """

    min_n: ClassVar[int] = 50

    limit: int = Field(default=10_000, ge=100, description="Real molecules to use at most.")
    rounds: int = Field(default=20, ge=20, description="Bootstrap rounds of the interval.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        self.require(len(evidence.samples))
        require()
        ours = valid(evidence.samples)
        if len(ours) < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} samples, given {len(ours)} valid ones of {len(evidence.samples)}")
        frechet = Frechet(features=ChemNet(), limit=self.limit, rounds=self.rounds)
        notes = left_out(evidence.samples)
        return [
            replace(measure, name="fcd", note="; ".join(filter(None, (measure.note, notes))))
            for measure in frechet.compute(replace(evidence, samples=ours))
        ]


def require() -> None:
    """Errors: `ModuleNotFoundError` if the network's package is not installed, with the command that installs it."""
    try:
        version("fcd")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "molecule.fcd and molecule.chemnet need the optional package fcd (LGPL-3): pip install --no-deps fcd==1.2.2", name="fcd"
        ) from error


def _activations(texts: Sequence[str]) -> Float[Tensor, "samples features"]:
    import fcd  # pyright: ignore[reportMissingImports]
    from fcd.utils import get_one_hot  # pyright: ignore[reportMissingImports]

    # The weights are read by torch.load with weights_only, torch's default: tensors and plain containers, no code.
    network = fcd.load_ref_model()
    parts = []
    for at in range(0, len(texts), BATCH):
        # As fcd's own reader: padded to 350 symbols and divided by the size of its alphabet.
        codes = torch.stack([torch.from_numpy(get_one_hot(text, 350)) for text in texts[at : at + BATCH]])
        with torch.no_grad():
            parts.append(network((codes / codes.shape[-1]).transpose(1, 2).float()))
    return torch.cat(parts)
