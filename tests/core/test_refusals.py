"""What cannot be done, or would do nothing, is refused by name: in the plan before training, and by the engine in the same words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Toy, Waves, toy_recipe

from anylatent.components import core_components
from anylatent.editing import directions
from anylatent.editing.translate import Translate
from anylatent.engine import Engine, Request
from anylatent.generation import RowGenerator
from anylatent.guidance.base import Guidance
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.guidance.compose import Compose, Entry
from anylatent.guidance.perturbed import Perturbed
from anylatent.guidance.self_attention import SelfAttention
from anylatent.guidance.sum import Sum
from anylatent.guidance.windows import Window, Windows
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.hooks.attention_received import AttentionReceived
from anylatent.hooks.base import Hook
from anylatent.hooks.direction import Direction
from anylatent.hooks.perturb_attention import PerturbAttention
from anylatent.hooks.skip_blocks import SkipBlocks
from anylatent.hooks.tap import Tap
from anylatent.metrics.denoiser_knows import Probe
from anylatent.node import Components
from anylatent.objective.coupling import OptimalTransport
from anylatent.paths.base import GaussianPath
from anylatent.paths.cosine import Cosine
from anylatent.paths.edm import EDM
from anylatent.paths.rectified import Rectified
from anylatent.plan import make_plan
from anylatent.recipe.model import Recipe
from anylatent.sampling import Sampling
from anylatent.schedules import ByLength, Pyramid, Resample, Restart, Schedule, Uniform
from anylatent.solvers.base import Multistep, Solver
from anylatent.solvers.ddim import DDIM, Ancestral
from anylatent.solvers.exponential import ERSDE, SDEDPMpp
from anylatent.solvers.langevin import Langevin
from anylatent.solvers.sde_euler import SDEEuler
from anylatent.testing.guidance import GuidedTransformer
from anylatent.testing.oracles import MixtureOracle

COMPONENTS = Components([*core_components(), Toy, Waves])
FREE = ClassifierFree(scale=2)


@pytest.fixture(scope="module")
def denoiser() -> GuidedTransformer:
    """Three blocks, 32 wide."""
    return GuidedTransformer()


def refused(denoiser: GuidedTransformer, **sampling: Any) -> str:
    """Why the engine does not make such rows; empty: it does."""
    condition, null = denoiser.conditions([{}]), denoiser.conditions.null(1)
    request = Request(denoiser.layout([0]), condition, Sampling(steps=2, **sampling), null)
    try:
        Engine(denoiser).add(request)
    except ValueError as error:
        return str(error)
    return ""


def planned(**changes: Any) -> list[str]:
    """The problems of a plan of a toy recipe."""
    return make_plan(Recipe.model_validate(toy_recipe(**changes), context={"components": COMPONENTS})).problems


# ---------------------------------------------------------------------------------------------------------- blocks

NOWHERE: list[tuple[dict[str, Any], str]] = [
    ({"hooks": (SkipBlocks(blocks=(77,)),)}, "hook 'skip-blocks' names block 77: the denoiser has blocks 0 to 2"),
    ({"hooks": (SkipBlocks(blocks=(0, 3, 9)),)}, "hook 'skip-blocks' names blocks 3, 9: the denoiser has blocks 0 to 2"),
    ({"hooks": (PerturbAttention(blocks=(3,)),)}, "hook 'perturb-attention' names block 3: the denoiser has blocks 0 to 2"),
    ({"hooks": (AttentionReceived(block=4),)}, "hook 'attention-received' names block 4: the denoiser has blocks 0 to 2"),
    ({"hooks": (Tap(block=3),)}, "hook 'tap' names block 3: the denoiser has blocks 0 to 2"),
    ({"hooks": (Direction(file="nofile", block=44),)}, "hook 'direction' names block 44: the denoiser has blocks 0 to 2"),
    ({"hooks": (AttentionFrom(source="null", first=4),), "guidance": FREE}, "hook 'attention-from' names block 4: the denoiser has blocks"),
    ({"guidance": SelfAttention(block=9)}, "guidance 'self-attention', by its hook 'attention-received' names block 9: the denoiser has"),
    (
        {"guidance": Sum(terms=(Perturbed(hook=PerturbAttention(blocks=(9,))),))},
        "guidance 'sum', by its hook 'perturb-attention' names block 9: the denoiser has blocks 0 to 2",
    ),
]


@pytest.mark.parametrize(("sampling", "says"), NOWHERE, ids=lambda value: value[:24] if isinstance(value, str) else "")
def test_a_block_that_is_not_there_is_refused(denoiser: GuidedTransformer, sampling: dict[str, Any], says: str) -> None:
    assert refused(denoiser, **sampling).startswith(says)


@pytest.mark.parametrize(
    "hook",
    [
        SkipBlocks(), SkipBlocks(blocks=(0, 2)), PerturbAttention(), Tap(block=2), Direction(file="nofile", strength=0, block=2),
        AttentionFrom(source="null", first=3), AttentionFrom(source="null", first=2), AttentionFrom(first=1001),
    ],
    ids=Hook.key,
)  # fmt: skip
def test_blocks_that_are_there_and_neutral_settings_are_allowed(denoiser: GuidedTransformer, hook: Hook) -> None:
    assert refused(denoiser, hooks=(hook,), guidance=FREE) == ""


def test_the_plan_refuses_blocks_in_the_same_words() -> None:
    """The toy's denoiser has one block."""
    hooks = [{"kind": "skip-blocks", "blocks": [1]}]
    assert planned(sample={"steps": 2, "hooks": hooks}) == ["hook 'skip-blocks' names block 1: the denoiser has block 0 alone"]
    probe = [{"kind": "probe", "condition": "label", "block": 7}]
    assert planned(evaluate=probe, sample={"count": 50}) == ["metric 'probe' names block 7: the denoiser has block 0 alone"]
    assert planned(evaluate=[probe[0] | {"block": 0}], sample={"count": 50}) == []


def test_a_guidance_by_what_disturbs_nothing_is_refused(denoiser: GuidedTransformer) -> None:
    for hook in (SkipBlocks(), PerturbAttention(share=0.0), Tap(), AttentionFrom(source="asked")):
        says = f"guidance 'perturbed' needs what disturbs its branch: hook '{hook.kind}' as it is set changes nothing there"
        assert says in refused(denoiser, guidance=Perturbed(hook=hook))
        assert refused(denoiser, guidance=Perturbed(hook=hook, scale=1.0)) == "", "unguided, it does not matter"


@pytest.mark.parametrize(
    ("guidance", "source", "asked"),
    [
        (Sampling().guidance, "source", ["asked"]),
        (Sampling().guidance, "asked", ["asked"]),
        (FREE, "nonsense", ["asked", "null"]),
        (Compose(entries=(Entry(), Entry(ask={"component": 1})), rule="mean", inner=FREE), "source", ["asked", "asked&1", "null"]),
        (Windows(windows=(Window(axis="i", size=4.0),), inner=FREE), "source", ["asked", "null"]),
        (Sum(terms=(FREE, SelfAttention())), "blurred", ["0:null", "1:blurred", "asked"]),
    ],
    ids=["nobody", "itself", "unknown", "compose", "windows", "sum"],
)
def test_attention_from_a_branch_that_nobody_asks_is_refused(
    denoiser: GuidedTransformer, guidance: Guidance, source: str, asked: list[str]
) -> None:
    found = refused(denoiser, hooks=(AttentionFrom(source=source),), guidance=guidance)
    assert f"hook 'attention-from' takes from the branch '{source}' for others, and guidance '{guidance.kind}' asks {asked}" in found
    if len(asked) > 1:
        allowed = refused(denoiser, hooks=(AttentionFrom(source=asked[-1]),), guidance=guidance)
        assert "takes from the branch" not in allowed


def test_an_editor_refuses_its_attention_before_it_inverts(denoiser: GuidedTransformer) -> None:
    generator = RowGenerator(denoiser, Sampling(steps=2), False)
    tokenizer: Any = None
    with pytest.raises(ValueError, match="editor 'translate', by its hook 'attention-from' names block 9: the denoiser has blocks 0 to 2"):
        Translate(attention=AttentionFrom(first=9)).edit(tokenizer, [], torch.arange(1), generator, [{}])
    assert denoiser.calls == 0


# ------------------------------------------------------------------------------------------------- files and values


def test_a_direction_that_is_not_there_or_of_another_width_is_refused(denoiser: GuidedTransformer, tmp_path: Path) -> None:
    nowhere = tmp_path / "nofile"
    assert refused(denoiser, hooks=(Direction(file=str(nowhere)),)) == f"hook 'direction': there is no file {nowhere}"
    assert planned(sample={"hooks": [{"kind": "direction", "file": str(nowhere)}]}) == [f"hook 'direction': there is no file {nowhere}"]
    five = directions.save(torch.ones(5), tmp_path / "five.safetensors")
    assert "has (5,) numbers: tokens have 32 after block 0" in refused(denoiser, hooks=(Direction(file=str(five)),))
    fitting = directions.save(torch.ones(32), tmp_path / "fitting.safetensors")
    assert refused(denoiser, hooks=(Direction(file=str(fitting)),)) == ""


@pytest.mark.parametrize(
    "guidance",
    [
        {"kind": "compose", "entries": [{"ask": {"label": 0}}, {"ask": {"label": 33}}]},
        {"kind": "regions", "regions": [{"where": [{"axis": "t", "start": 0.1}], "ask": {"label": 33}}]},
        {"kind": "classifier-free", "against": {"label": 33}},
        {"kind": "sum", "terms": [{"kind": "classifier-free", "against": {"label": 33}}]},
    ],
    ids=lambda node: node["kind"],
)
def test_a_value_that_the_condition_does_not_have_is_refused_by_the_plan(guidance: dict[str, Any]) -> None:
    says = f"guidance '{guidance['kind']}' asks what is not known: condition 'label': there is no class 33; the training set has 0, 1, 2, 3"
    assert planned(sample={"guidance": guidance}) == [says]


def test_a_value_that_the_condition_does_not_have_is_refused_of_a_trained_one(denoiser: GuidedTransformer) -> None:
    guidance = Compose(entries=(Entry(ask={"component": 0}), Entry(ask={"part": "a"})), rule="mean")
    generator = RowGenerator(denoiser, Sampling(steps=1, guidance=guidance), False)
    with pytest.raises(ValueError, match="guidance 'compose' asks what is not known: condition 'part': there is no class 'a'"):
        generator(denoiser.layout([0]), [{}])


# -------------------------------------------------------------------------------------------------- the path's noise

PATHS = [Rectified(), Cosine(), EDM()]
STOCHASTIC = [
    Ancestral(), Ancestral(eta=0.8), SDEDPMpp(), SDEDPMpp(order=1), SDEDPMpp(eta=0.5), SDEEuler(), SDEEuler(churn=0.5), ERSDE(), DDIM(),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.kind)
@pytest.mark.parametrize("solver", STOCHASTIC, ids=Solver.key)
def test_a_solver_that_renews_adds_the_noise_of_the_reverse_process(solver: Multistep, path: GaussianPath) -> None:
    """The variance of its small steps beside that of q(x_s | x_t, x_0), at all times; others say that theirs is another."""
    times = torch.tensor([0.5, 0.499, 0.498], dtype=torch.float64) + torch.tensor([[-0.3], [0.0], [0.3]], dtype=torch.float64)
    shares = []
    for each in times:
        noise = solver.table(path, each)[-1, -1] if solver.stochastic else torch.zeros(())
        alpha, sigma = path.alpha(each[1:]), path.sigma(each[1:])
        own = sigma[1] ** 2 * (1 - (alpha[0] * sigma[1] / (alpha[1] * sigma[0])) ** 2)
        shares.append(float(noise**2 / own))
    assert solver.renews(path) == (shares == pytest.approx([1, 1, 1], abs=0.02)), shares


DENSITIES = [Compose(entries=(Entry(), Entry(ask={"component": 1})), rule=rule) for rule in ("mixture", "equal")]


@pytest.mark.parametrize("guidance", DENSITIES, ids=lambda guidance: guidance.rule)
def test_densities_are_followed_by_the_paths_own_noise_alone(denoiser: GuidedTransformer, guidance: Compose) -> None:
    own = "follows densities by the path's own noise, which solver '{}' as it is set does not add on 'rectified': take 'ancestral', or"
    for solver in (DDIM(), Ancestral(eta=0.5), SDEDPMpp(eta=0.5), SDEEuler(), ERSDE(), Langevin(solver=Ancestral())):
        assert own.format(solver.kind) in refused(denoiser, guidance=guidance, solver=solver)
        assert own.format(solver.kind) in refused(denoiser, guidance=Sum(terms=(guidance,)), solver=solver)
    for solver in (Ancestral(), SDEDPMpp(), Langevin(solver=Ancestral(), steps=0)):
        assert "own noise" not in refused(denoiser, guidance=guidance, solver=solver)
    rising = refused(denoiser, guidance=guidance, solver=Ancestral(), schedule=Restart())
    assert "guidance 'compose' follows densities down to the data, and schedule 'restart' noises tokens again" in rising
    for other in (Compose(entries=guidance.entries, rule="mean"), Compose(entries=(Entry(),), rule=guidance.rule)):
        assert "densities" not in refused(denoiser, guidance=other, solver=DDIM())


@dataclass
class Way:
    """How a sample comes down, though its densities are not followed there."""

    solver: Solver
    schedule: Schedule


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "followed"),
    [
        (Way(Ancestral(), Uniform()), True),
        (Way(SDEDPMpp(), Uniform()), True),
        (Way(DDIM(), Uniform()), False),
        (Way(SDEDPMpp(eta=0.5), Uniform()), False),
        (Way(SDEEuler(), Uniform()), False),
        (Way(ERSDE(), Uniform()), False),
        (Way(Ancestral(), Restart()), False),
    ],
    ids=lambda value: f"{value.solver.kind} {value.schedule.kind}" if isinstance(value, Way) else "",
)
def test_what_is_refused_is_wrong_however_many_the_steps(way: Way, followed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that two Gaussians of other widths should hold to be as likely: only own noise comes closer to it with more steps."""
    monkeypatch.setattr(Compose, "follows_noise", lambda self: False)
    means = torch.tensor([[[0.6, 0.0]], [[-0.6, 0.5]]])
    oracle = MixtureOracle(Rectified(), torch.ones(2) / 2, means, torch.tensor([0.4, 0.8]))
    guidance = Compose(entries=tuple(Entry(ask={"component": k}) for k in range(2)), rule="equal")
    gaps = []
    for steps in (20, 160):
        sampling = Sampling(steps=steps, guidance=guidance, solver=way.solver, schedule=way.schedule, batch=200)
        x = RowGenerator(oracle, sampling, False)(oracle.layout(range(200)), [{}] * 200)["tokens"].values
        logs = -((x[:, None] - means) ** 2).sum((2, 3)) / (2 * oracle.stds**2) - 2 * oracle.stds.log()
        gaps.append(float((logs[:, 1] - logs[:, 0]).square().mean().sqrt()))
    assert (gaps[1] < 0.35) == followed, gaps


# ------------------------------------------------------------------------------------------- times of tokens' own


def test_a_pyramid_without_forcing_is_said_to_be_worse() -> None:
    sample = {"steps": 2, "schedule": {"kind": "pyramid"}}

    def notes(**changes: Any) -> list[str]:
        plan = make_plan(Recipe.model_validate(toy_recipe(**changes), context={"components": COMPONENTS}))
        assert not plan.problems
        return plan.notes

    (note,) = notes(sample=sample)
    assert note.startswith(
        "schedule 'pyramid' gives the tokens of stream 'tokens' times of their own, which training with objective.forcing"
    )
    assert notes(sample=sample, objective={"forcing": 0.5}) == []
    assert notes(sample={"steps": 2, "schedule": {"kind": "pyramid", "lag": 0}}) == []


@pytest.mark.parametrize("of", [Pyramid(), ByLength()], ids=lambda of: of.kind)
def test_a_schedule_of_shared_times_does_not_lose_those_of_tokens(of: Schedule) -> None:
    """They were played as if the inner schedule gave all rows and tokens the same times."""
    for outer in (Restart, Resample, ByLength, Pyramid):
        with pytest.raises(ValueError, match=f"'{outer.kind}' goes by times that all tokens share, given '{of.kind}', which gives them"):
            outer(of=of)
    assert Resample(of=Pyramid(lag=0)).of.kind == "pyramid"


# ------------------------------------------------------------------------------------------------------ couplings


def test_a_coupling_whose_rows_find_nobody_says_so() -> None:
    numbers, classes = [{"logp": i / 7} for i in range(500)], [{"label": i % 10} for i in range(500)]
    assert OptimalTransport().seldom(numbers, 64) == (
        "coupling 'optimal-transport' exchanges noise between rows that are asked the same: in a batch of 64, 0% of the rows find such "
        "another, for 500 samples have 500 different conditions"
    )
    assert OptimalTransport().seldom(classes, 64) is None
    assert OptimalTransport().seldom([{}] * 20, 8) is None


def test_the_probe_names_its_block_to_a_denoiser(denoiser: GuidedTransformer) -> None:
    assert list(Probe(condition="part", block=3).unanswered(denoiser)) == ["metric 'probe' names block 3: the denoiser has blocks 0 to 2"]
    assert list(Probe(condition="part", block=2).unanswered(denoiser)) == []
