"""Two streams with as little in common as possible, in one state: trained and sampled together, one given the other."""

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import DiTConfig
from anylatent.engine import Engine, Request, sample
from anylatent.guidance.classifier_free import ClassifierFree
from anylatent.objective import LogNormalTimes, Objective, StreamObjective
from anylatent.paths import EDM, Cosine
from anylatent.sampling import Sampling, StreamSampling
from anylatent.schedules import Rho, Uniform
from anylatent.solvers.ddim import DDIM
from anylatent.solvers.heun import Heun
from anylatent.state import State, Stream
from anylatent.testing.backbones import two_stream_specs

CLOUD = StreamObjective(path=EDM(sigma_max=10), prediction="preconditioned", times=LogNormalTimes(mean=-0.5), weight=0.5)
OBJECTIVE = Objective(path=Cosine(), completion=0.3, together=False, streams={"cloud": CLOUD})


def _data(rows: int, seed: int = 0) -> tuple[State, list[dict]]:
    """A sign decides both streams: the field is +-1 everywhere, the cloud a centred pair along the first or second axis; ragged."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (rows,), generator=generator)
    sign = (2.0 * signs - 1)[:, None, None]
    field_mask = torch.arange(4)[None] < torch.randint(2, 5, (rows, 1), generator=generator)
    positions = torch.stack((torch.arange(4) * 0.1, torch.arange(4.0)), -1).expand(rows, -1, -1)
    field = Stream.of(sign.expand(-1, 4, 5) * field_mask[..., None], positions * field_mask[..., None], field_mask)
    along = torch.stack((signs, 1 - signs), -1).float()[:, None]
    cloud = Stream.of(along * torch.tensor([[1.5], [-1.5]]))
    return State.of({"field": field, "cloud": cloud}, range(rows)), [{"label": int(s)} for s in signs]


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    specs = two_stream_specs()
    config = DiTConfig(depth=2, width=48, heads=2)
    corruptions = {spec.name: Corruption(*OBJECTIVE.of(spec.name)) for spec in specs}
    denoiser = Denoiser(config.build(specs, False), Conditions(48, {"label": ClassConfig().build(48, [0, 1])}), corruptions)
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    state, asked = _data(256)
    for step in range(300):
        rows = torch.arange(step * 64 % 256, step * 64 % 256 + 64)
        condition = denoiser.conditions([asked[i] if (i + step) % 4 else {} for i in rows.tolist()])
        OBJECTIVE.loss(denoiser, state.select(rows), condition, step).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return denoiser.requires_grad_(False).eval()


SAMPLING = Sampling(
    steps=12, solver=DDIM(), schedule=Uniform(), streams={"cloud": StreamSampling(solver=Heun(), schedule=Rho(rho=3, ratio_max=10))}
)


def _sign(state: State, name: str) -> torch.Tensor:
    values = state[name].values
    return (values[:, 0, 0] > 0).long() if name == "field" else (values[:, 0, 0].abs() > values[:, 0, 1].abs()).long()


def test_both_are_made_and_agree(denoiser: Denoiser) -> None:
    layout, _ = _data(40, seed=9)
    made, receipts = sample(denoiser, Request(layout, denoiser.conditions([{}] * 40), SAMPLING))
    assert receipts["engine"].counts["network_calls"] > 12 * 40, "Heun asks twice"
    assert (_sign(made, "field") == _sign(made, "cloud")).float().mean() > 0.9
    assert 4 < _sign(made, "field").sum() < 36, "both signs are made"
    assert (made["cloud"].values.sum(1).abs() < 1e-4).all(), "the centred stream is centred"
    assert not made["field"].values[~made["field"].mask].any()


def test_the_condition_decides_both(denoiser: Denoiser) -> None:
    layout, _ = _data(20, seed=9)
    asked = [{"label": i % 2} for i in range(20)]
    guided = SAMPLING.model_copy(update={"guidance": ClassifierFree(scale=1.5)})
    made, _ = sample(denoiser, Request(layout, denoiser.conditions(asked), guided, denoiser.conditions.null(20)))
    wanted = torch.tensor([row["label"] for row in asked])
    assert (_sign(made, "field") == wanted).all()
    assert (_sign(made, "cloud") == wanted).all()


def test_one_stream_given_the_other_follows(denoiser: Denoiser) -> None:
    """Conditional generation through `keep` alone: the kept stream is at time 0, the other is made."""
    clean, _ = _data(30, seed=11)
    kept = clean.with_kept("field", clean["field"].mask)
    made, _ = sample(denoiser, Request(kept, denoiser.conditions([{}] * 30), SAMPLING))
    assert torch.equal(made["field"].values, clean["field"].values)
    assert (_sign(made, "cloud") == _sign(clean, "field")).float().mean() > 0.9


def test_rows_are_alone_together(denoiser: Denoiser) -> None:
    """Ragged rows at different steps with different scales, joined one by one."""
    layout, asked = _data(8, seed=5)
    requests = []
    for i in range(8):
        sampling = SAMPLING.model_copy(update={"steps": 5 + i % 3, "guidance": ClassifierFree(scale=1 + i / 4)})
        requests.append(Request(layout.select([i]).trimmed(), denoiser.conditions([asked[i]]), sampling, denoiser.conditions.null(1)))
    alone = [sample(denoiser, request)[0] for request in requests]
    engine, done = Engine(denoiser), {}
    for request in requests:
        engine.add(request)
        done |= {finished.row: finished for finished in engine.step()}
    done |= {finished.row: finished for finished in engine.stream()}
    for row, state in enumerate(alone):
        for name in ("field", "cloud"):
            values = state[name].values[0]
            torch.testing.assert_close(done[row].state[name].values[0, : len(values)], values, atol=1e-4, rtol=0)
