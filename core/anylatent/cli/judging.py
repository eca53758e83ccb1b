"""The command that says what a run's denoiser thinks of given files."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anylatent.cli.runs import Folder, Weights, open_run

if TYPE_CHECKING:
    from anylatent.denoiser import Denoiser
    from anylatent.perception.likelihood import Begin
    from anylatent.state import State

_AT_ONCE = 50


def judge(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Samples of the run's modality.", show_default=False)],
    condition: Annotated[list[str], typer.Option(metavar="NAME=VALUE", help="What they are said to be; repeatable.")] = [],
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of the likelihood: four network calls each.")] = 40,
    probes: Annotated[int, typer.Option(min=1, metavar="N", help="Random directions of the likelihood.")] = 8,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Of the classes: one network call each, and class.")] = 64,
    weights: Weights = "",
) -> None:
    """Say how likely given files are, and of which class.

    A line a file: bits a number of its tokens (lower is likelier), and for each class condition that --condition does not name
    the likeliest class and its probability, if all are equally frequent. What it says of a file hangs on no other file: all have
    the same noise, and can be compared.
    """
    from anylatent.cli import requests
    from anylatent.cli.text import table
    from anylatent.conditioners.standard import ClassConfig
    from anylatent.editing.base import encoded
    from anylatent.lazy import torch
    from anylatent.perception.likelihood import as_data, begins_on, unlikely

    opened = open_run(folder)
    asked = requests.conditions(opened.recipe, condition)
    samples = requests.samples(opened, files)
    denoiser = opened.denoiser(weights)
    unknown = [name for name, config in opened.recipe.conditions.items() if isinstance(config, ClassConfig) and name not in asked]
    rows = [("file", "bits a number", *(column for name in unknown for column in (name, "probability")))]
    reason = next(unlikely(denoiser), "")
    if reason and not unknown:
        raise ValueError(reason)
    begin = begins_on(denoiser, opened.tokenizer, opened.train_set) if as_data(denoiser) and not reason else {}
    for first in range(0, len(files), _AT_ONCE):
        some = samples[first : first + _AT_ONCE]
        state = encoded(opened.tokenizer, some, torch.zeros(len(some), dtype=torch.long))
        bits = ["–"] * len(some) if reason else _bits(denoiser, state, asked, steps, probes, begin)
        verdicts = [_classes(denoiser, state, asked, name, draws) for name in unknown]
        for i, file in enumerate(files[first : first + len(some)]):
            rows.append((str(file), bits[i], *(text for verdict in verdicts for text in verdict[i])))
    print(table(rows))
    if reason:
        print(f"bits: {reason}")


def _bits(denoiser: "Denoiser", state: "State", asked: dict[str, Any], steps: int, probes: int, begin: "dict[str, Begin]") -> list[str]:
    from anylatent.perception.likelihood import log_likelihood

    condition = denoiser.conditions([asked] * len(state), state.device)
    found = log_likelihood(denoiser, state, condition, steps, probes, begin=begin).bits_per_number
    return [f"{bits:.3f}" for bits in found.tolist()]


def _classes(denoiser: "Denoiser", state: "State", asked: dict[str, Any], name: str, draws: int) -> list[tuple[str, str]]:
    """The likeliest class of each row, and its probability."""
    from anylatent.conditioners.base import Conditioner
    from anylatent.perception.diffusion_classifier import denoising_errors

    conditioner = denoiser.conditions.named[name]
    assert isinstance(conditioner, Conditioner), "a module dict does not say what it holds"
    values = conditioner.examples
    errors = denoising_errors(denoiser, state, [asked] * len(state), [{name: value} for value in values], draws, "likelihood")
    shares, best = (-errors.double()).softmax(1).max(1)
    return [(str(values[which]), f"{share:.3f}") for which, share in zip(best.tolist(), shares.tolist(), strict=True)]
