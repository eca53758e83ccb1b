"""What rows are asked to be, in flight: vectors and tokens for the denoiser."""

from collections.abc import Sequence
from dataclasses import dataclass

from anylatent.lazy import torch
from anylatent.types import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class TokenSet:
    """Condition tokens `(B, M, W)` and their mask `(B, M)`."""

    values: Float[Tensor, "rows tokens width"]
    mask: Bool[Tensor, "rows tokens"]

    def select(self, rows: Tensor) -> "TokenSet":
        return TokenSet(self.values[rows], self.mask[rows])

    @staticmethod
    def join(sets: "Sequence[TokenSet]", dim: int) -> "TokenSet":
        """Concatenate along rows (0, padding the shorter) or tokens (1)."""
        if dim == 0:
            longest = max(s.mask.shape[1] for s in sets)
            sets = [
                TokenSet(
                    torch.nn.functional.pad(s.values, (0, 0, 0, longest - s.mask.shape[1])),
                    torch.nn.functional.pad(s.mask, (0, longest - s.mask.shape[1])),
                )
                for s in sets
            ]
        return TokenSet(torch.cat([s.values for s in sets], dim), torch.cat([s.mask for s in sets], dim))


@dataclass(frozen=True)
class Condition:
    """What B rows are asked to be: a vector `(B, W)` added to the time embedding, tokens to attend to, tokens to put before."""

    vector: Float[Tensor, "rows width"]
    cross: TokenSet | None = None
    prepend: TokenSet | None = None
    ids: Int[Tensor, " rows"] | None = None
    """Equal for rows with equal vectors, to look up what was computed for them."""

    def select(self, rows: Tensor) -> "Condition":
        cross, prepend = (s and s.select(rows) for s in (self.cross, self.prepend))
        return Condition(self.vector[rows], cross, prepend, None if self.ids is None else self.ids[rows])

    def __len__(self) -> int:
        return self.vector.shape[0]

    @staticmethod
    def cat(parts: "Sequence[Condition]") -> "Condition":
        if len(parts) == 1:
            return parts[0]

        def join(sets: list[TokenSet | None]) -> TokenSet | None:
            there = [s for s in sets if s is not None]
            assert len(there) in (0, len(sets)), "rows of one batch have the same condition slots"
            return TokenSet.join(there, 0) if there else None

        ids = [p.ids for p in parts if p.ids is not None]
        return Condition(
            torch.cat([p.vector for p in parts]),
            join([p.cross for p in parts]),
            join([p.prepend for p in parts]),
            torch.cat(ids) if len(ids) == len(parts) else None,
        )
