"""What guidances that have others inside share."""

from collections.abc import Collection, Mapping, Sequence

from anylatent.guidance.base import Guidance, Variant
from anylatent.hooks.base import Hook
from anylatent.paths.base import Path
from anylatent.spec import StreamSpec
from anylatent.types import Float, Tensor


class Around(Guidance):
    """A guidance with others `within`: what those need it needs, and what refuses them refuses it."""

    def within(self) -> Sequence[Guidance]:
        """The guidances inside."""
        raise NotImplementedError

    def needs_null(self) -> bool:
        return any(each.needs_null() for each in self.within())

    def variants(self) -> Mapping[str, Variant]:
        return {name: variant for each in self.within() for name, variant in each.variants().items()}

    def denoisers(self) -> Collection[str]:
        return {name for each in self.within() for name in each.denoisers()}

    def streams(self) -> Collection[str]:
        return {name for each in self.within() for name in each.streams()}

    def hooks(self) -> Collection[Hook]:
        return [hook for each in self.within() for hook in each.hooks()]

    def supports(self, path: Path) -> str | None:
        return next(filter(None, (each.supports(path) for each in self.within())), None)

    def refuses(self, specs: Sequence[StreamSpec]) -> str | None:
        return next(filter(None, (each.refuses(specs) for each in self.within())), None)

    def follows_noise(self) -> bool:
        return any(each.follows_noise() for each in self.within())

    def memory(self, x: Float[Tensor, "rows tokens width"]) -> dict[str, Tensor]:
        return {name: value for each in self.within() for name, value in each.memory(x).items()}
