"""Rows of text to molecules with their properties: computed once, cached by content, problems told by row."""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anylatent import files
from anylatent.data import cache_folder
from anylatent_molecule import chemistry, conformers, description

VERSION = 2
"""Raise it when the same rows would give another table."""


class Row(NamedTuple):
    """A line of a file: its number (from 1, as an editor shows it), the SMILES, a name, further numbers as text."""

    number: int
    smiles: str
    name: str = ""
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preparation:
    """What is done to each row, and so what a cached table depends on besides the rows."""

    largest_part: bool
    stereo: bool
    conformers: bool
    conformer_seconds: float
    max_atoms: int | None
    elements: tuple[str, ...]
    numbers: tuple[str, ...] = ()

    def key(self, content: str) -> str:
        from importlib.metadata import version

        facts = [VERSION, content, vars(self), chemistry.PROPERTIES, version("rdkit"), version("selfies")]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Table:
    """Molecules by column. `atoms` are heavy ones; `symbols` is the length in SELFIES, 0 where that cannot be written;
    `places` `(sum of atoms, 3)` in angstrom, in the order of the atoms of each SMILES, or empty."""

    smiles: np.ndarray
    rows: np.ndarray
    names: np.ndarray
    captions: np.ndarray
    """What `description.describe` says of each."""
    atoms: np.ndarray
    symbols: np.ndarray
    numbers: np.ndarray
    places: np.ndarray
    problems: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many rows were dropped as asked, by reason."""


def load(rows: Iterable[Row], content: str, preparation: Preparation) -> Table:
    """The table of these rows; `content` identifies them. Computed at the first call, then read from the cache."""
    path = cache_folder() / "molecule" / f"{preparation.key(content)[:32]}.npz"
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as saved:
            told = json.loads(str(saved["told"]))
            columns = {name: saved[name] for name in _COLUMNS}
        return Table(**columns, problems=tuple(told["problems"]), left_out=told["left_out"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Absent, or damaged: made again.
        table = _compute(rows, preparation)
    whole = io.BytesIO()
    told = json.dumps({"problems": table.problems, "left_out": table.left_out})
    np.savez_compressed(whole, told=np.array(told), **{name: getattr(table, name) for name in _COLUMNS})
    files.write_bytes(path, whole.getvalue())
    return table


_COLUMNS = ("smiles", "rows", "names", "captions", "atoms", "symbols", "numbers", "places")


class _LeftOut(Exception):
    """A row that the options ask to drop: counted by reason, not a problem."""


def _compute(rows: Iterable[Row], preparation: Preparation) -> Table:
    kept: list[tuple[str, int, str, str, int, int, list[float]]] = []
    places: list[np.ndarray] = []
    problems: list[str] = []
    left_out: dict[str, int] = {}
    seen: set[str] = set()
    for row in rows:
        try:
            smiles, caption, atoms, symbols, numbers, coordinates = _one(row, preparation, seen)
        except _LeftOut as reason:
            left_out[str(reason)] = left_out.get(str(reason), 0) + 1
            continue
        except ValueError as error:
            problems.append(f"row {row.number}: {error}")
            continue
        kept.append((smiles, row.number, row.name[:200], caption, atoms, symbols, numbers))
        places.append(coordinates)
    columns: list[tuple[Any, ...]] = list(zip(*kept, strict=True)) if kept else [()] * 7
    width = len(chemistry.PROPERTIES) + len(preparation.numbers)
    return Table(
        smiles=np.array(columns[0], dtype=np.bytes_),
        rows=np.array(columns[1], dtype=np.int64),
        names=np.array(columns[2], dtype=np.str_),
        captions=np.array(columns[3], dtype=np.str_),
        atoms=np.array(columns[4], dtype=np.int32),
        symbols=np.array(columns[5], dtype=np.int32),
        numbers=np.array(columns[6], dtype=np.float32).reshape(len(kept), width),
        places=np.concatenate(places).astype(np.float32) if places else np.zeros((0, 3), np.float32),
        problems=tuple(problems),
        left_out=left_out,
    )


def _one(row: Row, preparation: Preparation, seen: set[str]) -> tuple[str, str, int, int, list[float], np.ndarray]:
    """The columns of a row. Errors: `ValueError` for what cannot be read, `_LeftOut` for what is not wanted."""
    from anylatent_molecule.symbols import selfies_of

    numbers = [_number(text, name) for text, name in zip(row.numbers, preparation.numbers, strict=True)]
    mol = chemistry.parse(row.smiles)
    if preparation.largest_part:
        mol = chemistry.largest_part(mol)
    smiles = chemistry.canonical(mol, preparation.stereo)
    if not smiles:
        raise ValueError(f"'{chemistry.shortened(row.smiles)}' has no canonical form that RDKit can read")
    if smiles in seen:
        raise _LeftOut("the same molecule as an earlier row")
    seen.add(smiles)
    mol = chemistry.parse(smiles)
    atoms = mol.GetNumHeavyAtoms()
    if preparation.max_atoms is not None and atoms > preparation.max_atoms:
        raise _LeftOut(f"more than {preparation.max_atoms} heavy atoms")
    strange = {atom.GetSymbol() for atom in mol.GetAtoms()} - set(preparation.elements or {atom.GetSymbol() for atom in mol.GetAtoms()})
    if strange:
        raise _LeftOut("an element that is not asked for")
    try:
        symbols = len(selfies_of(smiles))
    except ValueError:
        symbols = 0
    coordinates = np.zeros((0, 3), np.float32)
    if preparation.conformers:
        coordinates = conformers.embed(mol, preparation.conformer_seconds)
    return smiles, description.describe(mol), atoms, symbols, [*chemistry.properties(mol).values(), *numbers], coordinates


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"the column of '{name}' says '{chemistry.shortened(text)}', expected a number")
    return value


def content_of(path: Path, *facts: object) -> str:
    """Identifies rows by the file that they are read from and how."""
    from anylatent.data import sha256_of

    return "\x1f".join([sha256_of(path), *map(str, facts)])
