"""The recipe language as a JSON Schema, for editors: completion, descriptions, and mistakes underlined."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from anylatent.node import Components, Node
from anylatent.recipe.migrations import VERSION
from anylatent.recipe.model import Recipe

Definition = dict[str, Any]


def schema(components: Components) -> Definition:
    """A JSON Schema (2020-12) of recipes with these components: a definition for each family, one of its kinds, and one for each kind."""
    nodes = list(components)
    families = sorted({_family(node) for node in nodes}, key=lambda family: family.family)
    names, made = models_json_schema([(model, "validation") for model in (Recipe, *families, *nodes)])
    definitions: dict[str, Definition] = made["$defs"]
    at = {model: str(reference["$ref"]).removeprefix("#/$defs/") for (model, _), reference in names.items()}
    for node in nodes:
        _say_kind(definitions[at[node]], node)
    for family in families:
        kinds = {kind: at[components.find(family.family, kind)] for kind in components.kinds(family.family)}
        definitions[at[family]] = _choice(family, kinds)
    recipe = definitions.pop(at[Recipe]) | {"title": f"anylatent recipe, version {VERSION}"}
    return {"$schema": GenerateJsonSchema.schema_dialect, **recipe, "$defs": definitions}


def _family(node: type[Node]) -> type[Node]:
    """The abstract node that gave a component its family."""
    return next(base for base in reversed(node.__mro__) if issubclass(base, Node) and base.family)


def _say_kind(definition: Definition, node: type[Node]) -> None:
    definition["title"] = f"{node.family} '{node.kind}'"
    definition["properties"] = {"kind": {"const": node.kind}} | definition.get("properties", {})


def _choice(family: type[Node], kinds: dict[str, str]) -> Definition:
    """One of a family's components: told apart by `kind`, which names it."""
    return {
        "title": family.family,
        "description": (family.__doc__ or "").strip(),
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(kinds)}},
        "discriminator": {"propertyName": "kind", "mapping": {kind: f"#/$defs/{name}" for kind, name in kinds.items()}},
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds.values()],
    }
