"""A class as one token: of signs, or of a vocabulary."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anylatent import random
from anylatent.joint.tokenizers import LabelConfig
from anylatent.spec import StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size, asked_sizes, told
from anylatent.types import Float, Tensor

SALTS = 100
"""Sets of codes that are tried for one whose codes are far enough apart."""


class LabelTokenizer(Tokenizer):
    """A label (whole number or text) is one token of signs, +1 or -1, drawn once for each class: mean 0 and variance 1.

    With `classes`, it is one-hot, its class's place in their order.
    """

    config: LabelConfig
    codes: Tensor

    def __init__(self, config: LabelConfig, example: Any) -> None:
        super().__init__(config)
        _require(example, 0)
        self.facts = {"classes": [], "salt": 0}
        self.register_buffer("codes", torch.zeros(0, self.specs[0].width), persistent=False)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        name = self.config.stream
        if self.config.classes:
            return (StreamSpec(name=name, kind="categorical", width=self.config.classes + 1, order="sequence", prior="mask"),)
        return (StreamSpec(name=name, width=self.config.width, order="sequence"),)

    def fit(self, samples: Sequence[Any]) -> None:
        """The classes, and codes for them that differ in a quarter of their signs at least.

        Errors: `ValueError` if there are more classes than such codes, or than `classes`.
        """
        for index, sample in enumerate(samples):
            _require(sample, index)
        classes = sorted(set(samples), key=lambda label: (isinstance(label, str), label))
        if self.config.classes:
            if len(classes) > self.config.classes:
                raise ValueError(f"there are {len(classes)} classes, the tokenizer 'label' has {self.config.classes}: raise its `classes`")
            return self.restore({"classes": classes, "salt": 0})
        width, least = self.config.width, max(1, self.config.width // 4)
        for salt in range(SALTS):
            codes = self._codes(classes, salt)
            apart = (width - codes @ codes.T) / 2 + width * torch.eye(len(codes))
            if apart.min() >= least:
                return self.restore({"classes": classes, "salt": salt})
        raise ValueError(f"{len(classes)} classes do not fit in codes of {width} signs: give the tokenizer 'label' a larger width")

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        known = self.facts["classes"]
        self.codes = self._codes(known, self.facts["salt"]).to(self.codes.device) if known else self.codes[:0]

    def _codes(self, labels: Sequence[Any], salt: int) -> Float[Tensor, "labels width"]:
        """Signs by the label itself: a label has its code before all classes are known. Of a vocabulary: its place, then."""
        if self.config.classes:
            known = self.facts["classes"]
            places = torch.tensor(
                [known.index(label) if known else random.seed_of("label", label) % self.config.classes for label in labels]
            )
            return torch.nn.functional.one_hot(places, self.config.classes + 1).float()
        seeds = torch.tensor([random.seed_of("label", label, salt) for label in labels])
        return torch.where(random.uniform(seeds, "label/code", 0, 0, self.config.width) < 0.5, -1.0, 1.0)

    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        for index, sample in enumerate(samples):
            _require(sample, index)
            if self.facts["classes"] and sample not in self.facts["classes"]:
                raise ValueError(f"sample {index}: no training sample has the label {sample!r}, only {self.facts['classes'][:20]}")
        codes = self._codes(samples, self.facts["salt"]).to(self.codes.device)
        return State.of({self.config.stream: Stream.of(codes[:, None])}, seeds)

    def decode(self, state: State) -> list[Any]:
        """The class whose code is nearest. Errors: `ValueError` before `fit`."""
        if not len(self.codes):
            raise ValueError("this tokenizer was not fitted: it knows no classes")
        values = state[self.config.stream].values[:, 0]
        return [self.facts["classes"][place] for place in torch.cdist(values, self.codes).argmin(1).tolist()]

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """One token a row. Errors: `ValueError` for another size."""
        if asked_sizes(size, ()) not in ((None,), (1,)):
            raise ValueError(f"size {told(size)}: a label is one token")
        return State.of({self.config.stream: Stream.of(torch.zeros(len(seeds), 1, self.specs[0].width, device=seeds.device))}, seeds)


def _require(sample: Any, index: int) -> None:
    if isinstance(sample, bool) or not isinstance(sample, int | str):
        raise ValueError(f"sample {index}: a label is a whole number or a text, given {type(sample).__name__}")
