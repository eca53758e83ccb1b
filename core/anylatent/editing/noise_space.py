"""The noise of every step of a stochastic sampler that makes a given sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from anylatent.editing.base import Edit, Editor, Generator, encoded, need_gaussian
from anylatent.editing.translate import by
from anylatent.known import Known
from anylatent.lazy import torch
from anylatent.paths.base import GaussianPath, Path, as_gaussian
from anylatent.solvers.base import LOWEST, Multistep
from anylatent.solvers.ddim import Ancestral
from anylatent.types import Float, Tensor

if TYPE_CHECKING:
    from anylatent.state import State
    from anylatent.tokenizers.base import Tokenizer


class AncestralToEnd(Multistep, kind="ancestral-to-end"):
    """The ancestral sampler, whose last step too has noise: it ends where the noise is `LOWEST`, and calls that the sample."""

    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True

    eta: float = Field(default=1.0, gt=0, le=1, description="How much noise is new.")

    def renews(self, path: Path) -> bool:
        return self.eta == 1

    def end(self, path: Path) -> float:
        return float(as_gaussian(path).time_of(torch.tensor(LOWEST, dtype=torch.float64)))

    def coefficients(self, path: GaussianPath, times: Float[Tensor, "times *tokens"]) -> list[Tensor]:
        return Ancestral(eta=self.eta).coefficients(path, times)


class NoiseSpace(Editor, kind="noise-space"):
    """Finds the noise of every ancestral step that makes a given sample under `source`, and makes one with it as what is asked.

    "independent": noisy copies x_t are drawn each for itself, so the noises are larger than a sampler's and hold the sample's layout
    (edit-friendly DDPM inversion: Huberman-Spiegelglas et al. 2023, 2304.06140, algorithm 1). "posterior": each is drawn given the one
    before and the sample (CycleDiffusion: Wu & De la Torre 2022, 2210.05559, eq. 9). Asked for the `source`, unguided, the sample
    comes back but for rounding. `strength` < 1 begins later, at a noisy copy: more of the sample stays.
    """

    variations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"posterior": {"trajectory": "posterior"}}
    costs: ClassVar[Mapping[str, str]] = {"network_calls": "steps"}
    systems: ClassVar[tuple[str, ...]] = ("Edit-friendly DDPM inversion (2304.06140)", "CycleDiffusion (2210.05559)")

    moves_by: ClassVar[str] = "ancestral steps"

    source: dict[str, Any] = Field(default={}, description="What the given samples are: conditions by name; empty: nothing is said.")
    trajectory: Literal["independent", "posterior"] = Field(default="independent", description="How noisy copies are drawn.")
    strength: float = Field(default=1.0, gt=0, le=1, description="The time to begin at: 1 is the prior.")
    eta: float = Field(default=1.0, gt=0, le=1, description="How much noise of a step is new; 1: the ancestral sampler's.")

    def start(self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor) -> "State":
        return encoded(tokenizer, given, seeds)

    def edit(
        self, tokenizer: "Tokenizer", given: list[Any], seeds: Tensor, generator: Generator, conditions: Sequence[Mapping[str, Any]]
    ) -> Edit:
        need_gaussian(self.kind, "finds noise", generator)
        state = self.start(tokenizer, given, seeds)
        denoiser = generator.denoiser
        if denoiser.self_conditioned:
            raise ValueError(
                f"editor '{self.kind}' asks about single noisy copies: a self-conditioned denoiser goes by what it said before, too"
            )
        device = next(denoiser.parameters()).device
        state = state.to(device)
        sampling = by(generator.sampling, AncestralToEnd(eta=self.eta))
        made = [spec for spec in denoiser.specs if not spec.given]
        times: dict[str, Tensor] = {}
        for spec in made:
            path, schedule = denoiser.path(spec.name), sampling.schedule_of(spec.name)
            if schedule.rises or schedule.token_times(sampling.steps, path, 1.0, state[spec.name], spec) is not None:
                raise ValueError(f"editor 'noise-space' needs a schedule that falls, of all tokens together: {schedule.called} does not")
            start = min(self.strength, path.start(denoiser.corruptions[spec.name].prediction))
            times[spec.name] = schedule.times(sampling.steps, path, start).clamp(min=sampling.solver.end(path))
        trails = {spec.name: self._trail(state, spec.name, denoiser.path(spec.name), times[spec.name]) for spec in made}
        tables = {name: sampling.solver.table(denoiser.path(name), each).float().to(device) for name, each in times.items()}
        condition = denoiser.conditions([self.source] * len(seeds), device)
        recorded: dict[str, list[Tensor]] = {name: [] for name in trails}
        for step in range(sampling.steps):
            now = state.with_values({name: trail[:, step] for name, trail in trails.items()})
            now = now.with_time({name: torch.full_like(now[name].time, float(each[step])) for name, each in times.items()})
            with torch.no_grad():
                clean = denoiser(now, condition)
            for name, trail in trails.items():
                a, b, up = tables[name][step]
                recorded[name].append((trail[:, step + 1] - a * trail[:, step] - b * clean[name]) / up)
        calls = torch.full((len(seeds),), float(sampling.steps))
        tokens = torch.stack([stream.mask.sum(1) for stream in state.streams.values()]).sum(0)
        known = Known(
            begun={name: trail[:, 0] for name, trail in trails.items()},
            recorded={name: torch.stack(z, 1) for name, z in recorded.items()},
            spent={"engine": {"network_calls": calls, "inversion_calls": calls, "tokens": calls * tokens.cpu()}},
        )
        return Edit(state, self.strength, known, sampling)

    def _trail(self, state: "State", name: str, path: Path, times: Tensor) -> Float[Tensor, "rows times tokens width"]:
        """Noisy copies of a stream at falling times, the last of them the stream itself."""
        clean = state[name].values
        spec_prior = [path.corrupt(clean, state.noise(name, step, 0, self.kind), t.float()) for step, t in enumerate(times[:-1])]
        if self.trajectory == "independent":
            return torch.stack([*spec_prior, clean], 1)
        numbers = Ancestral(eta=self.eta).table(path, times).float()
        found = [spec_prior[0]]
        for step, (a, b, up) in enumerate(numbers[:-1]):
            found.append(a * found[-1] + b * clean + up * state.noise(name, step, 1, self.kind))
        return torch.stack([*found, clean], 1)
