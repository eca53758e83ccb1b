"""A network that tells the class of noised tokens."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anylatent.conditioners.base import Conditions
from anylatent.denoiser import Corruption, TokenNetwork
from anylatent.nn.backbone import Backbone
from anylatent.nn.layers import Linear, zero_init
from anylatent.state import State
from anylatent.types import Bool, Float, Int, Tensor

NOT_ASKED = -1
"""In place of a class: the row is asked none."""


class TokenClassifier(TokenNetwork):
    """log p(class | noised tokens of all streams), at any times: a backbone without its readout, a mean over the row's valid tokens,
    a linear layer (as the noisy classifier of Dhariwal & Nichol 2021, 2105.05233, section 4, over tokens).

    `classes`: JSON values, in the order of its output. It knows no conditions, and is not told what a denoiser said.
    """

    def __init__(self, backbone: Backbone, corruptions: Mapping[str, Corruption], classes: Sequence[Any]) -> None:
        super().__init__(backbone, corruptions)
        self.classes = list(classes)
        self._nothing = Conditions(backbone.width, {})
        backbone.readout = nn.ModuleDict()
        self.out = zero_init(Linear(backbone.width, len(self.classes), "readout"))

    def forward(self, state: State) -> Float[Tensor, "rows classes"]:
        """log p(class | row): what is kept is seen as it is, at time 0; padding changes nothing."""
        return self.logits(state).log_softmax(1)

    def logits(self, state: State) -> Float[Tensor, "rows classes"]:
        """log p(class, row), but for a function of the row."""
        condition = self._nothing.null(len(state), state.device)
        x = self.backbone.tokens(*self.shown(state, condition), condition).float()
        valid = torch.cat([state[spec.name].mask for spec in self.specs], 1)[..., None].to(x.dtype)
        mean = (x * valid).sum(1) / valid.sum(1).clamp(min=1)
        return self.out(mean).float()

    def slopes(
        self, state: State, wanted: Int[Tensor, " rows"], rows: Bool[Tensor, " rows"], marginal: float = 1.0
    ) -> dict[str, Float[Tensor, "rows tokens width"]]:
        """grad log p(`wanted` | row) by the values of each stream, joint over all of them; 0 in the others than `rows`, which cost
        nothing. `marginal`: how much of the logarithm of all classes' sum is taken off.
        """
        index = rows.nonzero()[:, 0]
        chosen = state.select(index).with_told({spec.name: None for spec in self.specs})
        with torch.enable_grad():
            values = {spec.name: chosen[spec.name].values.detach().requires_grad_() for spec in self.specs}
            logits = self.logits(chosen.with_values(values))
            told = logits.gather(1, wanted[index][:, None])[:, 0] - marginal * logits.logsumexp(1)
            found = torch.autograd.grad(told.sum(), list(values.values()))
        return {
            name: torch.zeros_like(state[name].values).index_copy(0, index, slope)
            for name, slope in zip(values, found, strict=True)
        }  # fmt: skip

    def index(self, values: Sequence[Any | None]) -> Int[Tensor, " rows"]:
        """Which class each value is; `NOT_ASKED` for None. Errors: `ValueError` for one that is none of its classes."""
        places = {value: place for place, value in enumerate(self.classes)} | {None: NOT_ASKED}
        for value in values:
            if not isinstance(value, Hashable) or value not in places:
                raise ValueError(f"there is no class {value!r}; the training set has {', '.join(map(str, self.classes[:40]))}")
        return torch.tensor([places[value] for value in values], dtype=torch.long)


def classes_of(values: Sequence[Any | None]) -> list[Any]:
    """The classes among these values, whole numbers first, in order. Errors: `ValueError` for other values, or fewer than two."""
    strange = next((value for value in values if value is not None and not isinstance(value, int | str)), None)
    if strange is not None:
        raise ValueError(f"expected classes, whole numbers or names: a record has {strange!r}")
    found = sorted({value for value in values if value is not None}, key=lambda value: (isinstance(value, str), value))
    if len(found) < 2:
        raise ValueError(f"expected two classes or more to tell apart: the training set has {', '.join(map(str, found)) or 'none'}")
    return found
