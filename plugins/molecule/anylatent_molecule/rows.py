"""Reading files of SMILES, row by row."""

import csv
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from anylatent_molecule.table import Row

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".smi", ".smiles", ".txt")


def is_table(path: Path) -> bool:
    """Whether rows have named columns."""
    return path.suffix.lower() in TABLES


def check(path: Path) -> None:
    """Errors: `FileNotFoundError` if it is not there; `ValueError` if it is not a file of a kind that is read."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: data.path names a .smi, .csv or .tsv file")
    if not path.is_file() or path.suffix.lower() not in (*TABLES, *LINES):
        raise ValueError(f"{path} is not a file of molecules: expected {', '.join((*LINES, *TABLES))}")


def smi(path: Path) -> Iterator[Row]:
    """The lines of a .smi file: SMILES, then optionally white space and a name. Empty lines are skipped."""
    # Bytes that are no UTF-8 become signs that are no SMILES, so their row is reported and the others are read.
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.split(maxsplit=1)
            if parts:
                yield Row(number, parts[0], parts[1].strip() if len(parts) > 1 else "")


def table(path: Path, smiles: str, name: str, numbers: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a .csv or .tsv file with a header. Errors: `ValueError` naming a column that is not there."""
    with open(path, encoding="utf-8", errors="replace", newline="") as stream:
        yield from _table(stream, str(path), TABLES[path.suffix.lower()], smiles, name, numbers)


def zipped_csv(archive: Path, member: str, smiles: str) -> Iterator[Row]:
    """The rows of a gzipped .csv inside a zip archive, which is not unpacked."""
    with zipfile.ZipFile(archive) as opened, opened.open(member) as packed, gzip.open(packed) as stream:
        yield from _table(io.TextIOWrapper(stream, encoding="utf-8"), member, ",", smiles, "", ())


def zipped_tsv(archive: Path, member: str, smiles: int, name: int) -> Iterator[Row]:
    """The rows of a .tsv without a header inside a zip archive, by the places of two columns; a row that is too short has no SMILES."""
    with zipfile.ZipFile(archive) as opened, opened.open(member) as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), start=1):
            cells = line.rstrip("\n").split("\t")
            yield Row(number, cells[smiles], cells[name]) if len(cells) > max(smiles, name) else Row(number, "")


def _table(stream: IO[str], what: str, delimiter: str, smiles: str, name: str, numbers: tuple[str, ...]) -> Iterator[Row]:
    reader = csv.DictReader(stream, delimiter=delimiter, restval="")
    columns = [column.lstrip("\ufeff") for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    for wanted in filter(None, (smiles, name, *numbers)):
        if wanted not in columns:
            raise ValueError(f"{what} has no column '{wanted}', its header says: {', '.join(columns) or 'nothing'}")
    try:
        for row in reader:
            # The first column that was not named is where surplus cells go: such a row is told by its SMILES as it stands.
            yield Row(reader.line_num, row[smiles].strip(), row[name].strip() if name else "", tuple(row[n].strip() for n in numbers))
    except csv.Error as error:
        raise ValueError(f"{what}, line {reader.line_num}: {error}") from error
