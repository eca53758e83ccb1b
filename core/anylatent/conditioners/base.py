"""The contract of a conditioner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from anylatent.condition import Condition, TokenSet
from anylatent.conditioners.config import ConditionerConfig
from anylatent.types import Tensor


class Conditioner(nn.Module, ABC):
    """Raw values to vectors `(B, W)` (slot global) or tokens `(B, M, W)` (slots cross and prepend).

    None is the null: learned, used for dropout in training, and the same one that guidance uses.
    """

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        self.config = config
        self.examples: list[Any] = []
        """Values (JSON) from which `config.build` makes a conditioner of the same shape, to load saved weights into."""

    @abstractmethod
    def forward(self, raw: Sequence[Any | None]) -> Tensor | TokenSet:
        """One row a value; None is the null. Errors: `ValueError` says which value was given and what was expected."""


class Conditions(nn.Module):
    """The named conditioners of a recipe, together: raw values by name in, one `Condition` out."""

    def __init__(self, width: int, named: Mapping[str, Conditioner]) -> None:
        super().__init__()
        self.width = width
        self.named = nn.ModuleDict(dict(named))

    def forward(self, raw: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu") -> Condition:
        """One row a mapping; a name that is missing or None is null. Errors: `ValueError` for an unknown name or bad value."""
        for asked in raw:
            unknown = set(asked) - set(self.named)
            if unknown:
                raise ValueError(f"unknown condition {sorted(unknown)}: this denoiser knows {sorted(self.named) or 'none'}")
        vector = torch.zeros(len(raw), self.width, device=device)
        tokens: dict[str, list[TokenSet]] = {"cross": [], "prepend": []}
        for name, conditioner in self.named.items():
            assert isinstance(conditioner, Conditioner)
            try:
                out = conditioner([asked.get(name) for asked in raw])
            except ValueError as error:
                raise ValueError(f"condition '{name}': {error}") from error
            if isinstance(out, TokenSet):
                tokens[conditioner.config.slot].append(out)
            else:
                vector = vector + out
        cross, prepend = (TokenSet.join(sets, 1) if sets else None for sets in tokens.values())
        return Condition(vector, cross, prepend)

    @torch.no_grad()
    def refuses(self, asked: Mapping[str, Any]) -> str | None:
        """Why this cannot be asked of a row, or None."""
        parameter = next(self.parameters(), None)
        try:
            self([asked], "cpu" if parameter is None else parameter.device)
        except ValueError as error:
            return str(error)
        return None

    def null(self, rows: int, device: torch.device | str = "cpu") -> Condition:
        """The condition of rows that are asked nothing."""
        return self([{}] * rows, device)
