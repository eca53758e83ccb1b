"""Captions for anylatent: conditioners that read texts, and a metric of whether samples are what their captions say."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_text.agreement import Agreement
    from anylatent_text.configs import Bytes, Encoder, MiniLM

    return [Bytes, MiniLM, Encoder, Agreement]
