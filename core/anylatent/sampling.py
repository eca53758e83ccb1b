"""How samples are made: the numbers of a request."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from anylatent.best_of import BestOf
from anylatent.corrections.base import Correction
from anylatent.energies import Decode, Energy, SampleEnergy, no_decoder
from anylatent.guidance.base import Guidance
from anylatent.guidance.none import Unguided
from anylatent.hooks.base import Hook
from anylatent.node import Node
from anylatent.paths.base import Path
from anylatent.schedules import Schedule, Uniform
from anylatent.solvers.base import Solver
from anylatent.solvers.exponential import SDEDPMpp
from anylatent.spec import StreamSpec

if TYPE_CHECKING:
    from anylatent.denoiser import Corruption, Denoiser
    from anylatent.nn.backbone import Backbone
    from anylatent.state import State


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
        """What a stream goes through, as its own schedule and the guidance say."""
        return self.guidance.course(self._named_schedule(stream), self.steps)

    def _named_schedule(self, stream: str) -> Schedule:
        return self.streams.get(stream, StreamSampling()).schedule or self.schedule

    def classifiers(self) -> tuple[str, ...]:
        """The conditions whose classifiers its corrections ask."""
        return tuple(dict.fromkeys(name for correction in self.corrections for name in correction.classifiers()))

    def refusals(self, denoiser: "Denoiser", null: bool) -> list[str]:
        """Why these methods cannot sample this denoiser; `null`: whether its rows can be asked nothing."""
        names = [spec.name for spec in denoiser.specs]
        found = [f"there is no stream '{name}': the tokenizer makes {sorted(names)}" for name in self.streams if name not in names]
        for spec in denoiser.specs:
            found += self._refused_along(spec, denoiser.corruptions[spec.name])
        found += filter(None, [correction.refuses(denoiser.specs) for correction in self.corrections])
        found += self._refused_hooks(denoiser.backbone)
        found += filter(None, [self.guidance.refuses(denoiser.specs), self.best_of and self.best_of.refuses(denoiser.specs)])
        absent = set(self.guidance.streams())
        if absent - set(names):
            found.append(
                f"guidance '{self.guidance.kind}' names the streams {sorted(absent - set(names))}: the tokenizer makes {sorted(names)}"
            )
        elif absent and absent == set(names):
            found.append(f"guidance '{self.guidance.kind}' leaves no stream to guide: {sorted(absent)} are all that there are")
        if self.guidance.needs_null() and not null:
            found.append(f"guidance '{self.guidance.kind}' needs a condition to guide towards, and the recipe has none under `conditions`")
        return list(dict.fromkeys(found))

    def _refused_along(self, spec: StreamSpec, corruption: "Corruption") -> list[str]:
        """Why a stream cannot go along its path so."""
        solver, schedule, path = self.solver_of(spec.name), self.schedule_of(spec.name), corruption.path
        found = [solver.supports(path), schedule.refuses(spec), None if spec.given else solver.refuses(spec)]
        try:
            times = schedule.times(self.steps, path, path.start(corruption.prediction))
            refused = None if spec.given else solver.refuses_times(None if schedule.own_times else times)
            if refused and schedule is not self._named_schedule(spec.name):
                refused += f"; guidance '{self.guidance.kind}' makes other times of any schedule: leave it out"
            found.append(refused)
        except ValueError as error:
            found.append(str(error))
        if not spec.given and not self.guidance.supports(path):
            found += self._unfollowed(solver, schedule, path)
        found += [self.guidance.supports(path), *(correction.supports(path) for correction in self.corrections)]
        return [text for text in found if text]

    def _refused_hooks(self, backbone: "Backbone") -> list[str]:
        """Why its hooks, and those of its guidance, cannot sit in this backbone, or beside each other."""
        found, guidance = [], f"guidance '{self.guidance.kind}'"
        for hook in (*self.hooks, *self.guidance.hooks()):
            missing = hook.parts - set(backbone.sites)
            whose = "" if hook in self.hooks else f"{guidance}, by its "
            if missing:
                name = type(backbone).__name__
                found.append(f"{whose}hook '{hook.kind}' needs the sites {sorted(missing)}, which the backbone '{name}' does not name")
            elif problem := hook.refuses(backbone.depth, backbone.width):
                found.append(f"{whose}{problem}")
            asked = self.guidance.branches()
            if hook.takes_from and (hook.takes_from not in asked or len(asked) == 1):
                found.append(
                    f"{whose}hook '{hook.kind}' takes from the branch '{hook.takes_from}' for others, and {guidance} asks "
                    f"{sorted(asked)}: name one of several, or edit with 'translate' and its `attention`"
                )
            found += [
                f"hooks '{hook.kind}' and '{other.kind}' exclude each other: leave one out"
                for other in self.hooks
                if other.kind in hook.conflicts
            ]
        kinds = [hook.kind for hook in self.hooks]
        found += [
            f"{guidance} perturbs by the hook '{hook.kind}', which the request has in every branch: leave one out"
            for hook in self.guidance.hooks()
            if hook.kind in kinds
        ]
        if len(set(kinds)) < len(kinds):
            found.append("a hook is named twice in `hooks`: once is enough")
        return found

    def _unfollowed(self, solver: Solver, schedule: Schedule, path: Path) -> list[str]:
        """Why a guidance that goes by the path's own noise has none to go by."""
        if not self.guidance.follows_noise():
            return []
        found = []
        if not solver.renews(path):
            found.append(
                f"guidance '{self.guidance.kind}' follows densities by the path's own noise, which solver '{solver.kind}' as it is set "
                f"does not add on '{path.kind}': take 'ancestral', or 'sde-dpm++' with eta 1"
            )
        if schedule.rises:
            found.append(
                f"guidance '{self.guidance.kind}' follows densities down to the data, and {schedule.called} noises tokens again: "
                "take one that falls"
            )
        return found

    def unforced(self, specs: Sequence[StreamSpec], forcing: float) -> dict[str, str]:
        """What a person should know of schedules that show a denoiser what `objective.forcing` did not train, by their kind."""
        found = {}
        for spec in specs:
            schedule = self.schedule_of(spec.name)
            if not forcing and not spec.given and schedule.apart(spec):
                found[schedule.kind] = (
                    f"{schedule.called} gives the tokens of stream '{spec.name}' times of their own, which training with "
                    "objective.forcing 0 does not show: expect worse samples, the more the larger its lag is"
                )
        return found

    def one_way(self, streams: Collection[str]) -> list[str]:
        """Which solvers of these streams cannot go back from the data."""
        solvers = dict.fromkeys(solver.kind for solver in map(self.solver_of, streams) if solver.way_back == "none")
        return [f"solver '{kind}' has no way back: invert with 'ddim', or exactly with an invertible one" for kind in solvers]

    def undetermined(self, streams: Collection[str]) -> list[str]:
        """What makes samples of these streams of more than their own noise: another seed's, or new noise on the way."""
        found = []
        for stream in streams:
            solver, schedule = self.solver_of(stream), self.schedule_of(stream)
            if solver.stochastic:
                found.append(f"solver '{solver.kind}' adds noise of its own: take a deterministic one, 'dpm++2m' or 'heun'")
            if schedule.rises and not schedule.reflects:
                found.append(f"{schedule.called} noises tokens again: take one that falls")
        if self.best_of is not None:
            found.append("best_of chooses among samples of other noise: leave it out")
        return list(dict.fromkeys(found))

    @property
    def energies(self) -> list[Energy]:
        """What its search goes by: of `best_of`, and of solvers that choose."""
        solvers = [self.solver, *(each.solver for each in self.streams.values() if each.solver is not None)]
        return [*([self.best_of.energy] if self.best_of else []), *(energy for solver in solvers for energy in solver.energies)]

    def unjudged(self, sample: Any) -> list[str]:
        """Why it cannot search among samples such as this one."""
        return list(dict.fromkeys(filter(None, (e.unjudged(sample) for e in self.energies if isinstance(e, SampleEnergy)))))

    def undecoded(self, state: "State", decode: Decode | None) -> list[str]:
        """Why it cannot search among the samples that such rows decode to: `decode` is missing, or makes what is not judged."""
        judging = [energy for energy in self.energies if isinstance(energy, SampleEnergy)]
        if not judging or not len(state):
            return []
        return [no_decoder(judging[0])] if decode is None else self.unjudged(decode(state.select([0]))[0])

    def unmeasured(self, measured: Collection[Collection[str]] = ()) -> list[str]:
        """Which corrections go by what a request does not give: `measured` are the names of what it gives of each stream."""
        return [
            f"correction '{correction.kind}' goes by what was measured ({', '.join(correction.measures)}), and the request gives "
            "nothing: use an editor that measures a given sample, or `Known.measured`"
            for correction in self.corrections
            if correction.measures and not any(set(correction.measures) <= set(names) for names in measured)
        ]
