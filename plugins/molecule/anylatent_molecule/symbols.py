"""Molecules as sequences of symbols, in SELFIES or in SMILES."""

import re
from typing import Literal

from anylatent_molecule import chemistry

Representation = Literal["selfies", "smiles"]

_SMILES_SYMBOL = re.compile(r"\[[^\]]+\]|Br|Cl|%\d{2}|.")
"""An atom in brackets, a two-letter atom, a two-digit ring number, or one character (Schwaller et al. 2018, arXiv:1711.04810)."""


def split(smiles: str, representation: Representation) -> tuple[str, ...]:
    """The symbols of a SMILES text. Errors: `ValueError` if SELFIES cannot write it."""
    return selfies_of(smiles) if representation == "selfies" else parts(smiles, "smiles")


def parts(text: str, representation: Representation) -> tuple[str, ...]:
    """The symbols of a text in that representation."""
    if representation == "smiles":
        return tuple(_SMILES_SYMBOL.findall(text))
    import selfies

    return tuple(selfies.split_selfies(text))


def selfies_of(smiles: str) -> tuple[str, ...]:
    """The SELFIES symbols of a SMILES text, atoms in the same order. Errors: `ValueError` if SELFIES cannot write it."""
    import selfies

    try:
        return tuple(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"SELFIES cannot write '{chemistry.shortened(smiles)}': {chemistry.shortened(reason, 120)}") from error


def smiles_of(text: str, representation: Representation) -> str:
    """The SMILES that a text says; for SELFIES every sequence of symbols says a molecule (Krenn et al. 2020, arXiv:1905.13741)."""
    if representation == "smiles":
        return text
    import selfies

    return str(selfies.decoder(text))
