"""Recipes to YAML, whole: every default written out."""

from pathlib import PurePath
from typing import Any

import yaml

from anylatent.node import Spec
from anylatent.recipe.reading import scalar


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the text that our reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() and isinstance(scalar(text), str) else '"'
    )


_Dumper.add_representer(str, _text)
_Dumper.add_multi_representer(PurePath, lambda dumper, path: _text(dumper, str(path)))


def dump(recipe: Spec) -> str:
    """YAML that reads back as the same recipe, with all defaults written out."""
    data = recipe.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
