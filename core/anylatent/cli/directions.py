"""The command that finds directions inside of a run's denoiser."""
# ruff: noqa: B006 (typer copies the lists that are defaults)

from pathlib import Path
from typing import Annotated

import typer

from anylatent.cli.runs import Condition, Folder, Seed, Weights, open_run


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
    given: Annotated[list[Path], typer.Option(metavar="FILE", help="Look into this sample, not made ones; repeatable.")] = [],
    from_data: Annotated[int, typer.Option(min=0, metavar="N", help="Look into the first N held-out samples of the data set.")] = 0,
    count: Annotated[int, typer.Option(min=2, metavar="N", help="Samples to find it in; as many more judge it.")] = 64,
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

    requests.direction(out, condition, against, svd, time)
    opened = open_run(folder)
    one, other = requests.conditions(opened.recipe, condition), requests.conditions(opened.recipe, against, "--against")
    denoiser = opened.denoiser(weights)
    block = requests.block(denoiser, block)
    samples = requests.given_samples(opened, given, from_data) if given or from_data else []
    with watching() as watch:
        rows = requests.rows(opened, samples, 2 * count, one if svd else other, seed, weights, watch)
    seen, others = rows.select(range(count)), rows.select(range(count, 2 * count))
    each = not alike and directions.same_tokens(rows)
    if svd:
        times = (*time, 0.7)[:1]
        found = directions.principal(denoiser, seen, [one] * count, times[0], block, svd, each)
        measures = directions.explained(denoiser, others, [one] * count, times[0], block, found)
    else:
        times = tuple(time) or (0.5, 0.7, 0.85)
        found = directions.contrast(denoiser, seen, one, other, times, block, each)[None]
        measures = [directions.told_apart(denoiser, others, one, other, times, block, found[0])]
    directions.save(list(found), out)
    print(found_directions(folder, out, block, times, found, measures, condition if svd else against))
