"""Runs: made by a recipe, kept in a folder."""

from anylatent.run.run import Asked, Run
from anylatent.run.samples import Samples, captions

__all__ = ["Asked", "Run", "Samples", "captions"]
