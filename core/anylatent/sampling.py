"""How samples are made: the numbers of a request."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from anylatent.corrections.base import Correction
from anylatent.corrections.best_of import BestOf
from anylatent.guidance.base import Guidance
from anylatent.guidance.none import Unguided
from anylatent.hooks.base import Hook
from anylatent.node import Node
from anylatent.paths.base import Path
from anylatent.schedules import Schedule, Uniform
from anylatent.solvers.base import Solver
from anylatent.solvers.exponential import SDEDPMpp
from anylatent.spec import StreamSpec


class StreamSampling(Node):
    """What differs for one stream of several; the number of steps is common."""

    schedule: Schedule | None = None
    solver: Solver | None = None


class Sampling(Node):
    """How many samples, in how many steps, by which solver and schedule, how guided, with which hooks."""

    count: int = Field(default=64, ge=1, description="Samples to make.")
    steps: int = Field(default=30, ge=1, description="Steps of the solver.")
    schedule: Schedule = Uniform()
    solver: Solver = SDEDPMpp(eta=0.5)
    guidance: Guidance = Unguided()
    hooks: tuple[Hook, ...] = ()
    corrections: tuple[Correction, ...] = ()
    streams: dict[str, StreamSampling] = Field(default={}, description="What differs, by stream.")
    best_of: BestOf | None = Field(default=None, description="Of several samples of each row, keep the best.")
    weights: str = Field(default="", description="Which weights: trained, or ema-<decay>; empty: the longest average.")
    batch: int = Field(default=64, ge=1, description="Rows that the engine moves at once.")
    seed: int = Field(default=0, ge=0, description="Of the first sample's row; each row has its own.")

    def solver_of(self, stream: str) -> Solver:
        return self.streams.get(stream, StreamSampling()).solver or self.solver

    def schedule_of(self, stream: str) -> Schedule:
        return self.streams.get(stream, StreamSampling()).schedule or self.schedule

    def refusals(
        self, specs: Sequence[StreamSpec], paths: Mapping[str, Path], sites: Collection[str], backbone: str, conditions: bool
    ) -> list[str]:
        """Why these methods cannot sample a denoiser of these streams and their paths, with these sites, and conditions or none."""
        found = [f"there is no stream '{name}': the tokenizer makes {sorted(paths)}" for name in self.streams if name not in paths]
        for stream, path in paths.items():
            found += filter(None, [self.solver_of(stream).supports(path)])
            spec = next(spec for spec in specs if spec.name == stream)
            found += filter(None, [self.schedule_of(stream).refuses(spec)])
            try:
                self.schedule_of(stream).times(self.steps, path)
            except ValueError as error:
                found.append(str(error))
            found += filter(None, [self.guidance.supports(path), *(correction.supports(path) for correction in self.corrections)])
        found += filter(None, [correction.refuses(specs) for correction in self.corrections])
        for hook in (*self.hooks, *self.guidance.hooks()):
            missing = hook.parts - set(sites)
            if missing:
                whose = "hook" if hook in self.hooks else f"guidance '{self.guidance.kind}', by its hook"
                found.append(f"{whose} '{hook.kind}' needs the sites {sorted(missing)}, which the denoiser '{backbone}' does not name")
            found += [
                f"hooks '{hook.kind}' and '{other.kind}' exclude each other: leave one out"
                for other in self.hooks
                if other.kind in hook.conflicts
            ]
        found += [
            f"guidance '{self.guidance.kind}' perturbs by the hook '{hook.kind}', which the request has in every branch: leave one out"
            for hook in self.guidance.hooks()
            if hook.kind in {other.kind for other in self.hooks}
        ]
        if len({hook.kind for hook in self.hooks}) < len(self.hooks):
            found.append("a hook is named twice in `hooks`: once is enough")
        found += filter(None, [self.guidance.refuses(specs), self.best_of and self.best_of.refuses(specs)])
        absent = set(self.guidance.streams())
        if absent - set(paths):
            found.append(
                f"guidance '{self.guidance.kind}' names the streams {sorted(absent - set(paths))}: the tokenizer makes {sorted(paths)}"
            )
        elif absent and absent == set(paths):
            found.append(f"guidance '{self.guidance.kind}' leaves no stream to guide: {sorted(absent)} are all that there are")
        if self.guidance.needs_null() and not conditions:
            found.append(f"guidance '{self.guidance.kind}' needs a condition to guide towards, and the recipe has none under `conditions`")
        return list(dict.fromkeys(found))

    def unmeasured(self, measured: Collection[Collection[str]] = ()) -> list[str]:
        """Which corrections go by what a request does not give: `measured` are the names of what it gives of each stream."""
        return [
            f"correction '{correction.kind}' goes by what was measured ({', '.join(correction.measures)}), and the request gives "
            "nothing: use an editor that measures a given sample, or `Known.measured`"
            for correction in self.corrections
            if correction.measures and not any(set(correction.measures) <= set(names) for names in measured)
        ]
