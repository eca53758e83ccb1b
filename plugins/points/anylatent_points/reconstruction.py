"""How much of a shape comes back through its latents."""

from typing import ClassVar

from pydantic import Field

from anylatent.lazy import torch
from anylatent.metrics.base import Evidence, Measure, Metric, TooFewSamples
from anylatent.metrics.intervals import mean_interval


class Reconstruction(Metric, kind="points.reconstruction"):
    """Volume IoU of held-out shapes with what `points.latent` makes of them: inside of both over inside of either.

    Judged at coordinates that are uniform in each shape's box. With `field: distance`, inside is inside of the shell.
    It judges the tokenizer, not the samples: as many held-out shapes as there are samples, at most `limit`.
    """

    min_n: ClassVar[int] = 5

    limit: int = Field(default=100, ge=5, description="Held-out shapes at most.")
    queries: int = Field(default=2048, ge=100, description="Coordinates a shape.")

    def compute(self, evidence: Evidence) -> list[Measure]:
        """Errors: `TooFewSamples`; `ValueError` for another tokenizer, or shapes without meshes where occupancy is judged."""
        from anylatent_points.fields import distance, in_box, inside
        from anylatent_points.latent_tokenizer import Latent

        self.require(len(evidence.samples))
        tokenizer, count = evidence.tokenizer, min(self.limit, len(evidence.samples), len(evidence.test))
        if not isinstance(tokenizer, Latent):
            raise ValueError(f"{self.kind} judges the tokenizer points.latent; this run has another")
        if count < self.min_n:
            raise TooFewSamples(f"{self.kind} needs at least {self.min_n} held-out shapes, the test split has {len(evidence.test)}")
        found = []
        for index in range(count):
            cloud = evidence.test[index].sample
            at = in_box(cloud, self.queries)
            if tokenizer.config.field == "distance":
                real = distance(cloud, at) < tokenizer.config.shell
            elif cloud.mesh is None:
                raise ValueError(f"{self.kind}: held-out cloud {index} has no mesh to compare with")
            else:
                real = inside(cloud.mesh, at)
            with torch.no_grad():
                ours = tokenizer.ask(tokenizer.latents_of(tokenizer.encode([cloud])), at) > 0
            found.append(((ours & real).sum() / (ours | real).sum().clamp(min=1)).float())
        each = torch.stack(found)
        note = f"{tokenizer.config.field} of {count} held-out shapes at {self.queries} coordinates each"
        fingerprint = f"{evidence.test.fingerprint()}:{tokenizer.fingerprint()}"
        low, high = mean_interval(each, evidence.seed)
        return [Measure("reconstruction-iou", float(each.mean()), low, high, count, "higher", None, fingerprint, note)]
