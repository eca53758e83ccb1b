"""One component restores a picture, fills a gap in a sound, denoises a cloud of points and plans actions to a goal.

Each modality's smoke recipe, with a small transformer that has learned nothing: what is tried is that measurements, corrections
and editors know nothing of the modality, and that what was measured is found in what they make.
"""

from typing import Any

import pytest
import torch
from every_method import RECIPES, Case, case_of

from anylatent.corrections.base import Correction
from anylatent.corrections.ddnm import DDNM
from anylatent.corrections.diffpir import DiffPIR
from anylatent.corrections.dps import DPS
from anylatent.corrections.mmps import MMPS
from anylatent.corrections.pi_gdm import PiGDM
from anylatent.corrections.red_diff import REDDiff
from anylatent.editing.base import Editor
from anylatent.editing.interpolate import Interpolate
from anylatent.editing.inverse import Inverse
from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.editing.noise_space import NoiseSpace
from anylatent.editing.sdedit import SDEdit
from anylatent.editing.translate import Translate
from anylatent.generation import RowGenerator
from anylatent.hooks.attention_from import AttentionFrom
from anylatent.measurements.average import Average, Total
from anylatent.measurements.base import Layout, Measurement
from anylatent.measurements.select import Identity, Select
from anylatent.paths.rectified import Rectified
from anylatent.sampling import Sampling
from anylatent.solvers.dpmpp import DPMpp2M
from anylatent.solvers.invertible import BDIA
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.testing.editors import edited


def made_streams(case: Case) -> list[StreamSpec]:
    return [spec for spec in case.tokenizer.specs if not spec.given]


def measurements(case: Case) -> list[Measurement]:
    """Of the first stream that is made: a part, means, a noisy copy, the sum along its first axis."""
    spec = made_streams(case)[0]
    axes = [axis.name for axis in spec.axes]
    part = Select(anew={axes[0]: (0.5, 1.0)}, stream=spec.name) if axes else Select(stream=spec.name)
    means = Average(over={axes[0]: 2}, stream=spec.name) if axes else Average(stream=spec.name)
    return [part, means, Identity(noise=0.5, stream=spec.name), Total(along=tuple(axes[:1]), stream=spec.name)]


def generator_of(case: Case) -> RowGenerator:
    return RowGenerator(case.denoiser(Rectified()), Sampling(steps=4, solver=DPMpp2M()), noised=True)


def make(case: Case, editor: Editor, rows: int = 2) -> State:
    return edited(generator_of(case), editor, case.tokenizer, case.samples[:rows], [5, 6][:rows], {})


def missed(case: Case, editor: Inverse, state: State) -> float:
    """How far what is measured of the made samples is from what was given, root mean square."""
    y = editor.measured(case.tokenizer, case.samples[:2], torch.tensor([5, 6]))
    total, count = 0.0, 0.0
    for name, given in y.items():
        spec = next(spec for spec in case.tokenizer.specs if spec.name == name)
        stream = state[name]
        layout = Layout.of(stream, spec)
        total += float((editor.measurement.apply(stream.values, layout) - given["y"]).square().sum())
        count += float(editor.measurement.support(stream.values, layout).sum())
    return (total / count) ** 0.5


@pytest.mark.parametrize("modality", RECIPES)
def test_what_was_measured_is_found_in_what_is_made(modality: str) -> None:
    """Exactly, by projection; a prior that has learned nothing does not stand in the way."""
    case = case_of(modality)
    for measurement in measurements(case):
        if measurement.noise:
            continue
        editor = Inverse(measurement=measurement, method=DDNM())
        state = make(case, editor)
        if all(spec.prior == "normal" for spec in made_streams(case)):
            assert missed(case, editor, state) < 1e-3, measurement.kind
        assert len(case.tokenizer.decode(state)) == 2


NEAR: list[tuple[Correction, float]] = [
    (DDNM(), 0.01), (DiffPIR(), 0.1), (PiGDM(), 0.2), (DPS(), 0.2), (DPS(through=False), 0.11), (MMPS(iterations=1), 0.13),
    (REDDiff(), 0.11),
]  # fmt: skip
"""What is missed after four steps, as a share of what a free sample misses: a third more than the most of any modality."""


@pytest.mark.parametrize("modality", RECIPES)
def test_every_method_comes_near_to_what_was_measured(modality: str) -> None:
    """Compared with a sample that does not go by it."""
    case = case_of(modality)
    part = measurements(case)[0].model_copy(update={"noise": 0.2})
    free = missed(case, Inverse(measurement=part), make(case, SDEdit(strength=0.999)))
    for method, most in NEAR:
        editor = Inverse(measurement=part, method=method)
        state = make(case, editor)
        assert missed(case, editor, state) < most * free, method.kind


def editors(case: Case) -> dict[str, Editor]:
    axes = [axis.name for spec in made_streams(case) for axis in spec.axes]
    region: dict[str, Any] = {"anew": {axes[0]: (0.5, 1.0)}} if axes else {}
    return {
        "sdedit": SDEdit(strength=0.3),
        "resampled completion": MaskedCompletion(**region, resample=2),
        "blended completion": MaskedCompletion(**region, blend=True, strength=0.6),
        "translation": Translate(solver=BDIA()),
        "attention": Translate(attention=AttentionFrom()),
        "noise space": NoiseSpace(),
    }


@pytest.mark.parametrize("modality", RECIPES)
def test_every_editor_edits(modality: str) -> None:
    """What it makes can be decoded; what comes back as it was, does."""
    case = case_of(modality)
    clean = case.tokenizer.encode(case.samples[:2])
    for name, editor in editors(case).items():
        state = make(case, editor)
        for spec in case.tokenizer.specs:
            assert state[spec.name].values.isfinite().all(), name
            if name in ("noise space", "translation") and all(each.prior == "normal" for each in made_streams(case)):
                apart = (state[spec.name].values - clean[spec.name].values).abs().max()
                assert apart < 0.02 * clean[spec.name].values.abs().max(), name
        assert len(case.tokenizer.decode(state)) == 2, name
    alike = [case.samples[0], case.samples[0]]
    made = edited(generator_of(case), Interpolate(), case.tokenizer, alike, [1, 2, 3], {})
    assert len(case.tokenizer.decode(made)) == 3
