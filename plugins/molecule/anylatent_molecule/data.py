"""Data sets of molecules: one inside the rdkit wheel, MOSES on demand, and the user's own files."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from anylatent.data import Dataset, DatasetConfig, Record, Source, Split
from anylatent_molecule.molecule import Molecule, rounded

if TYPE_CHECKING:
    from anylatent_molecule.table import Row, Table


class Molecules(Dataset):
    """Molecules with `logp`, `qed`, `weight`, `rings`, `caption` (and the file's own name and numbers) as conditions."""

    def __init__(self, table: "Table", chosen: list[int], condition_names: tuple[str, ...]) -> None:
        import numpy as np

        self.problems = table.problems
        self.left_out: Mapping[str, int] = table.left_out
        """How many rows the options dropped, by reason."""
        self._table, self._chosen, self._names = table, chosen, condition_names
        self._starts = np.concatenate(([0], np.cumsum(table.atoms))) if len(table.places) else None

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Record:
        at = self._chosen[index]
        conditions = self.conditions(index)
        return Record(self._molecule(at), conditions, id=conditions.get("name") or f"row {self._table.rows[at]}")

    def conditions(self, index: int) -> dict[str, Any]:
        at, table = self._chosen[index], self._table
        conditions: dict[str, Any] = {n: float(v) for n, v in zip(self._names, table.numbers[at], strict=True)}
        conditions["caption"] = str(table.captions[at])
        name = str(table.names[at])
        if name:
            conditions["name"] = name
        return conditions

    def _molecule(self, at: int) -> Molecule:
        smiles = self._table.smiles[at].decode()
        if self._starts is None:
            return Molecule(smiles)
        places = self._table.places[self._starts[at] : self._starts[at + 1]]
        elements = tuple(atom.GetSymbol() for atom in Molecule(smiles).mol().GetAtoms())
        return Molecule(smiles, elements, rounded(places))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self._names, self._starts is not None)).encode())
        for at in self._chosen:
            words = f"\t{self._table.names[at]}\t{self._table.captions[at]}\t".encode()
            digest.update(self._table.smiles[at] + words + self._table.numbers[at].tobytes())
            if self._starts is not None:
                digest.update(self._table.places[self._starts[at] : self._starts[at + 1]].tobytes())
        return digest.hexdigest()


class SmilesConfig(DatasetConfig):
    """What all data sets of molecules can do with the rows they read."""

    rows: int | None = Field(default=None, ge=1, description="Read no more than this many rows; none: all.")
    max_atoms: int | None = Field(default=None, ge=1, description="Leave out molecules with more heavy atoms.")
    max_symbols: int | None = Field(default=None, ge=1, description="Leave out molecules that SELFIES writes longer, or not at all.")
    elements: tuple[str, ...] = Field(default=(), description="Leave out molecules with other elements; empty: keep all.")
    largest_part: bool = Field(default=True, description="Of salts and solvates keep the part with the most heavy atoms.")
    stereo: bool = Field(default=False, description="Keep stereochemistry; without it, stereoisomers are one molecule.")
    conformers: bool = Field(default=False, description="Compute a 3D conformer of each molecule (10 to 30 ms each, kept in the cache).")
    conformer_seconds: float = Field(default=2.0, gt=0, description="Give up on a conformer after this long, and report the row.")
    test_fraction: float = Field(default=0.1, gt=0, lt=1, description="Share of the test split, by a hash of canonical SMILES.")
    strict: bool = Field(default=False, description="Refuse the file if a row cannot be read, instead of reporting it.")

    def build(self, split: Split) -> Dataset:
        from anylatent_molecule import chemistry, table

        numbers = self._numbers()
        preparation = table.Preparation(
            self.largest_part, self.stereo, self.conformers, self.conformer_seconds, self.max_atoms, self.elements, tuple(numbers)
        )
        whole = table.load(islice(self._read(split), self.rows), self._content(split), preparation)
        if self.strict and whole.problems:
            raise ValueError(f"{self._name()}: {len(whole.problems)} rows cannot be read, the first: {whole.problems[0]} (strict is on)")
        chosen = [at for at in range(len(whole.smiles)) if self._short(int(whole.symbols[at])) and self._splits(whole.smiles[at], split)]
        if not chosen:
            dropped = ", ".join(f"{count} {reason}" for reason, count in whole.left_out.items()) or "none left out"
            raise ValueError(
                f"{self._name()}: no molecule for the {split} split; {len(whole.smiles)} rows could be used before max_symbols "
                f"and the split ({dropped}; {len(whole.problems)} unreadable{': ' + whole.problems[0] if whole.problems else ''})"
            )
        return Molecules(whole, chosen, (*chemistry.PROPERTIES, *numbers))

    def _read(self, split: Split) -> Iterator["Row"]:
        """The rows of the file, in order."""
        raise NotImplementedError

    def _content(self, split: Split) -> str:
        """Identifies what `_read` gives."""
        raise NotImplementedError

    def _numbers(self) -> Mapping[str, str]:
        """Further conditions by name, with the column that holds them."""
        return {}

    def _name(self) -> str:
        return self.kind

    def _short(self, symbols: int) -> bool:
        return self.max_symbols is None or 0 < symbols <= self.max_symbols

    def _splits(self, smiles: bytes, split: Split) -> bool:
        position = int.from_bytes(hashlib.blake2b(smiles, digest_size=8).digest(), "little") / 2**64
        return (position < self.test_fraction) == (split == "test")


class Nci(SmilesConfig, kind="molecule.nci"):
    """4,999 compounds of the NCI open database, inside the rdkit wheel."""

    summary: ClassVar[str] = "4,999 screening compounds (NCI Open Database, first 5K), inside the rdkit package (BSD-3-Clause)"

    def _path(self) -> Path:
        from rdkit import RDConfig

        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there: this rdkit was installed without its Data folder; use the rdkit wheel of PyPI")
        return path

    def _read(self, split: Split) -> Iterator["Row"]:
        from anylatent_molecule import rows

        # What follows the SMILES there is the row's own number.
        return (row._replace(name="") for row in rows.smi(self._path()))

    def _content(self, split: Split) -> str:
        from anylatent_molecule.table import content_of

        return content_of(self._path(), self.rows)


class Moses(SmilesConfig, kind="molecule.moses"):
    """MOSES (Polykovskiy et al. 2020, arXiv:1811.12823): drug-like molecules of ZINC, with its own train and test split."""

    summary: ClassVar[str] = "MOSES, 1,584,663 + 176,074 drug-like molecules of ZINC (MIT), fetched on demand"
    source: ClassVar[Source] = Source(
        package="molsets",
        version="0.3.1",
        sha256="7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
        licence="MIT",
        attribution="Polykovskiy et al. 2020, Molecular Sets (MOSES), arXiv:1811.12823",
        megabytes=51.6,
    )

    rows: int | None = Field(default=20_000, ge=1, description="Read no more than this many rows of each split; none: all (an hour).")

    def _member(self, split: Split) -> str:
        return f"moses/dataset/data/{split}.csv.gz"

    def _read(self, split: Split) -> Iterator["Row"]:
        from anylatent_molecule import rows

        return rows.zipped_csv(self.archive(), self._member(split), "SMILES")

    def _content(self, split: Split) -> str:
        self.archive()
        return f"{self.source.sha256} {self._member(split)} {self.rows}"

    def _splits(self, smiles: bytes, split: Split) -> bool:
        return True


class Named(SmilesConfig, kind="molecule.named"):
    """Chemicals of PubChem with their systematic names, from the data of the package `chemicals` (Bell and others)."""

    summary: ClassVar[str] = "71,347 chemicals with their systematic names (MIT), fetched on demand"
    source: ClassVar[Source] = Source(
        package="chemicals",
        version="1.5.2",
        sha256="f85ef7f36e77fee634686c26562929ee61026cd548d89cebd57b2251ca843d6e",
        licence="MIT",
        attribution="Caleb Bell and contributors, chemicals, https://github.com/CalebBell/chemicals; names from PubChem",
        megabytes=22.3,
    )
    member: ClassVar[str] = "chemicals/Identifiers/chemical identifiers pubchem large.tsv"

    rows: int | None = Field(default=20_000, ge=1, description="Read no more than this many rows; none: all (ten minutes).")

    def _read(self, split: Split) -> Iterator["Row"]:
        from anylatent_molecule import rows

        # The table has no header: PubChem's number, CAS number, formula, weight, SMILES, InChI, InChIKey, name, synonyms.
        return rows.zipped_tsv(self.archive(), self.member, smiles=4, name=7)

    def _content(self, split: Split) -> str:
        self.archive()
        return f"{self.source.sha256} {self.member} {self.rows}"


class UserFile(SmilesConfig, kind="molecule.file"):
    """The user's own molecules: a .smi file (SMILES, then a name), or a .csv or .tsv with a header."""

    summary: ClassVar[str] = "your own .smi, .csv or .tsv file of SMILES"

    path: Path = Field(description="A .smi, .csv or .tsv file.")
    smiles: str = Field(default="smiles", description="The column with SMILES (of tables).")
    name: str = Field(default="", description="The column with names (of tables); they become the condition `name`.")
    numbers: dict[str, str] = Field(default={}, description="Further conditions and their columns (of tables): {potency: pIC50}.")

    def _read(self, split: Split) -> Iterator["Row"]:
        from anylatent_molecule import rows

        if rows.is_table(self.path):
            return rows.table(self.path, self.smiles, self.name, tuple(self.numbers.values()))
        if self.numbers:
            raise ValueError(f"{self.path} has no columns for {list(self.numbers)}: give a .csv or .tsv file with a header")
        return rows.smi(self.path)

    def _content(self, split: Split) -> str:
        from anylatent_molecule import rows
        from anylatent_molecule.table import content_of

        rows.check(self.path)
        return content_of(self.path, self.rows, self.path.suffix, self.smiles, self.name, tuple(self.numbers.values()))

    def _numbers(self) -> Mapping[str, str]:
        return self.numbers

    def _name(self) -> str:
        return str(self.path)
