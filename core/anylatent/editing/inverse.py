"""Restoring what a measurement left of a sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from anylatent import random
from anylatent.corrections.base import Correction
from anylatent.corrections.mmps import MMPS
from anylatent.corrections.posterior import Consistent, by_measurement
from anylatent.editing.base import Edit, Editor, Generator, encoded, need_gaussian
from anylatent.known import Known
from anylatent.lazy import torch
from anylatent.measurements.base import Layout, Measurement
from anylatent.types import Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class Inverse(Editor, kind="inverse"):
    """Measures a given sample (a part, means, a blurred or noisy copy) and makes samples that would be measured alike.

    Nothing of the sample is used but its layout and what was measured. Any correction that goes by a measurement does it: pictures
    are restored, gaps filled, clouds denoised, actions planned to a sum. From Python also with measured values of one's own
    (`Known.measured`).
    """

    example: ClassVar[Mapping[str, Any]] = {"measurement": {"kind": "identity", "noise": 0.5}}
    costs: ClassVar[Mapping[str, str]] = {"gradients": "steps * method"}

    measurement: Measurement = Field(description="What is known of the sample.")
    method: Correction = Field(default=MMPS(), description="The correction that goes by it; its `measurement` is this one.")

    @model_validator(mode="after")
    def _suits(self) -> "Inverse":
        method = self.method
        if not isinstance(method, Consistent):
            raise ValueError(f"'{method.kind}' goes by no measurement: choose one of {', '.join(by_measurement())}")
        if method.measurement not in (self.measurement, type(method).model_fields["measurement"].default):
            raise ValueError("the measurement is said twice, and not alike: leave it out of `method`")
        self.correction()
        return self

    def correction(self) -> Correction:
        """The method, going by the measurement. Errors: `ValueError` if it cannot."""
        fields = {name: getattr(self.method, name) for name in type(self.method).model_fields}
        return type(self.method)(**fields | {"measurement": self.measurement})

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        """The layout of the given samples, with nothing in it; streams that are always given are kept."""
        state = encoded(tokenizer, given, seeds)
        empty = {spec.name: torch.zeros_like(state[spec.name].values) for spec in tokenizer.specs if not spec.given}
        return state.with_values(empty)

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        need_gaussian(self.kind, f"goes by '{self.method.kind}'", generator)
        known = Known(measured=self.measured(tokenizer, given, seeds))
        sampling = generator.sampling
        corrected = sampling.model_copy(update={"corrections": (*sampling.corrections, self.correction())})
        return Edit(self.start(tokenizer, given, seeds), known=known, sampling=corrected)

    def measured(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> dict[str, dict[str, Tensor]]:
        """What is measured of the given samples (in turn), by stream, with each row's noise.

        Errors: `ValueError` if a stream cannot be measured, there is none of that name, or nothing would be measured.
        """
        state = encoded(tokenizer, given, seeds)
        names = [spec.name for spec in tokenizer.specs if not spec.given]
        if self.measurement.stream not in ("", *names):
            raise ValueError(f"there is no stream '{self.measurement.stream}' to measure: the tokens that are made are {names}")
        found: dict[str, dict[str, Tensor]] = {}
        values = torch.zeros(len(seeds))
        for spec in filter(self.measurement.measures, tokenizer.specs):
            problem = self.measurement.refuses(spec)
            if problem:
                raise ValueError(problem)
            stream = state[spec.name]
            layout = Layout.of(stream, spec)
            y = self.measurement.apply(stream.values, layout)
            support = self.measurement.support(stream.values, layout)
            if self.measurement.noise:
                y = y + self.measurement.noise * _noise(spec.name, y, state.seeds) * support
            values = values + support.flatten(1).sum(1).cpu()
            found[spec.name] = {"y": y}
        if (values == 0).any():
            row = int((values == 0).nonzero()[0])
            raise ValueError(f"nothing would be measured of given sample {row % len(given)}: choose another region")
        return found


def _noise(stream: str, y: Tensor, seeds: Tensor) -> Tensor:
    """Standard normal numbers of the shape of measured values, by row seed; those of the first stay as others are added."""
    return random.normal(seeds, f"{stream}/measured", 0, 0, y.shape[1], y[0, 0].numel()).reshape(y.shape).to(y.dtype)
