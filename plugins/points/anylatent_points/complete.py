"""Completing a shape of which a part is given."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from anylatent.editing.base import Editor
from anylatent.lazy import torch
from anylatent.types import Bool, Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer
    from anylatent_points.cloud import Cloud


class Complete(Editor, kind="points.complete"):
    """Keeps the points on one side of a plane, and makes the others anew; the result has the given one's scale and unit.

    The plane is across `axis` at a fraction of the cloud's extent: `{axis: z, at: 0.5}` keeps the lower half. For
    tokenizers whose tokens hold points (`points.set`, `points.leaves`): a patch with a point on the other side is made anew.
    """

    axis: Literal["x", "y", "z"] = Field(default="z", description="Across which axis the plane is; z is up.")
    at: float = Field(default=0.5, gt=0, lt=1, description="Where, as a fraction of the cloud's extent.")
    side: Literal["below", "above"] = Field(default="below", description="Which side is kept.")

    def start(self, tokenizer: "Tokenizer", given: "list[Cloud]", seeds: Tensor) -> "State":
        """Errors: `ValueError` for another tokenizer, or where everything or nothing would be kept."""
        from anylatent.state import State
        from anylatent_points.token_tokenizers import Leaves, PointSet

        if not given:
            raise ValueError("no cloud was given to complete")
        if not isinstance(tokenizer, PointSet | Leaves):
            raise ValueError(f"{self.kind} keeps points: it needs the tokenizer points.set or points.leaves, this run has another")
        clouds = [given[i % len(given)] for i in range(len(seeds))]
        encoded = tokenizer.encode(clouds)
        state = State.of(encoded.streams, seeds.to(encoded.device))
        (name,) = state.streams
        keep = torch.zeros_like(state[name].mask)
        for row, cloud in enumerate(clouds):
            kept = tokenizer.whole_tokens(cloud, self.kept(cloud.points)).to(keep.device)
            if not kept.any() or kept.all():
                what = "everything" if kept.all() else "nothing"
                raise ValueError(f"{what} would be kept of given cloud {row % len(given)}: move the plane (`at`), or choose another `axis`")
            keep[row, : len(kept)] = kept
        return state.with_kept(name, keep)

    def finish(self, samples: list[Any], given: list[Any]) -> list[Any]:
        """The made clouds with the scale and the unit of the given ones: they share their frame."""
        from dataclasses import replace

        wholes = [given[index % len(given)] for index in range(len(samples))]
        return [replace(sample, scale=whole.scale, unit=whole.unit) for sample, whole in zip(samples, wholes, strict=True)]

    def kept(self, points: Tensor) -> Bool[Tensor, " points"]:
        """Which points are on the side that is kept."""
        place = points[:, "xyz".index(self.axis)]
        low, high = place.min(), place.max()
        below = place < low + self.at * (high - low)
        return below if self.side == "below" else ~below
