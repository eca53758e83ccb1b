"""The command that finds directions inside of a run's denoiser."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anylatent.cli.runs import Condition, Folder, Seed, Weights, open_run

if TYPE_CHECKING:
    from anylatent.run import Run


def direction(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, for the hook 'direction'.", show_default=False)],
    condition: Condition = [],
    against: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="What it is compared with; else nothing asked. Repeatable.")
    ] = [],
    svd: Annotated[int, typer.Option(min=0, metavar="N", help="Instead, the N directions in which samples differ most.")] = 0,
    block: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="After which block, from 0; else the last.", show_default=False)
    ] = None,
    time: Annotated[list[float], typer.Option(metavar="T", help="How noisy tokens are, from 0 to 1; repeatable.")] = [],
    alike: Annotated[bool, typer.Option("--alike", help="One for all tokens, not each its own.")] = False,
    given: Annotated[list[Path], typer.Option(metavar="FILE", help="Look into this sample, not made ones; repeatable, four or more.")] = [],
    from_data: Annotated[int, typer.Option(min=0, metavar="N", help="Look into the first N held-out samples of the data set.")] = 0,
    count: Annotated[int, typer.Option(min=2, metavar="N", help="Samples to find it in; as many others judge it.")] = 64,
    seed: Seed = None,
    weights: Weights = "",
) -> None:
    """Find a direction inside of the denoiser to edit by.

    What tokens there have more of if one thing is asked (--condition) and not another (--against); or, with --svd, in what
    samples differ most. Writes a file for the hook 'direction', and prints how to use it.
    """
    from anylatent.cli import requests
    from anylatent.cli.progress import watching
    from anylatent.cli.text import found_directions
    from anylatent.editing import directions

    requests.check_direction(out, condition, against, svd, time)
    opened = open_run(folder)
    one, other = requests.conditions(opened.recipe, condition), requests.conditions(opened.recipe, against, "--against")
    denoiser = opened.denoiser(weights)
    block = requests.block(denoiser, block)
    samples = _distinct(opened, given, from_data)[: 2 * count] if given or from_data else []
    count = (len(samples) + 1) // 2 if samples else count
    if svd >= count:
        raise ValueError(f"--svd {svd}: {count} samples differ in at most {count - 1} directions; ask for fewer, or take more samples")
    samples = samples[::2] + samples[1::2]  # of a sorted folder, both halves have all sorts
    with watching() as watch:
        rows = requests.rows(opened, samples, len(samples) or 2 * count, one if svd else other, seed, weights, watch)
    seen, others = rows.select(range(count)), rows.select(range(count, len(rows)))
    each = not alike and directions.same_tokens(rows)
    if svd:
        times = (*time, 0.7)[:1]
        found = directions.principal(denoiser, seen, [one] * count, times[0], block, svd, each)
        measures = directions.explained(denoiser, others, [one] * len(others), times[0], block, found)
    else:
        times = tuple(time) or (0.5, 0.7, 0.85)
        found = directions.contrast(denoiser, seen, one, other, times, block, each)[None]
        measures = [directions.told_apart(denoiser, others, one, other, times, block, found[0])]
    directions.save(list(found), out)
    print(found_directions(folder, out, block, times, found, measures, condition if svd else against))


def _distinct(opened: "Run", given: Sequence[Path], from_data: int) -> list[Any]:
    """Given samples, each once: one half to find a direction in, the other to judge it. Errors: `ValueError` for fewer than two in each."""
    from anylatent.cli import requests

    places = [file.resolve() for file in given]
    if twice := [file for file, place in zip(given, places, strict=True) if places.count(place) > 1]:
        raise ValueError(f"--given {twice[0]} is given twice: what a direction is found in cannot judge it")
    samples = requests.given_samples(opened, given, from_data)
    if len(samples) < 4:
        option = "--given" if given else "--from-data"
        raise ValueError(
            f"{option}: a direction is found in one half of the samples and judged on the other: give 4 or more, given {len(samples)}"
        )
    return samples
