"""Bonds from places of atoms: who is bonded, by distance; how strongly, by what each atom's valence leaves open."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

SLACK_ANGSTROM = 0.4
"""Two atoms are bonded if they are nearer than the sum of their covalent radii and this (Meng & Lewis 1991)."""

NEAREST_ANGSTROM = 0.8
"""Atoms nearer than this lie in each other: no molecule has such heavy atoms."""

TRIED = 500
"""Partial assignments of bond orders that are tried before giving up."""


@dataclass(frozen=True)
class Atoms:
    """Heavy atoms: element symbols, formal charges, attached hydrogens, places `(atoms, 3)` in angstrom."""

    elements: tuple[str, ...]
    charges: tuple[int, ...]
    hydrogens: tuple[int, ...]
    places: np.ndarray


def perceive(atoms: Atoms) -> "Mol":
    """The molecule of these atoms. Errors: `ValueError` if atoms overlap, it falls apart, or a valence is exceeded.

    Each atom's valence, less its hydrogens and neighbours, is what its double and triple bonds must make up; they go
    where all atoms get theirs, to short bonds first. What still is open is filled with hydrogens.
    """
    from rdkit import Chem, rdBase

    pairs = _neighbours(atoms)
    orders = _orders(atoms, pairs)
    editable = Chem.RWMol()
    for element, charge in zip(atoms.elements, atoms.charges, strict=True):
        atom = Chem.Atom(element)
        atom.SetFormalCharge(charge)
        editable.AddAtom(atom)
    for (a, b), order in zip(pairs, orders, strict=True):
        editable.AddBond(a, b, (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)[order])
    mol = editable.GetMol()
    with rdBase.BlockLogs():
        for problem in Chem.DetectChemistryProblems(mol):
            raise ValueError(problem.Message())
        Chem.SanitizeMol(mol)
    if len(Chem.GetMolFrags(mol)) > 1:
        raise ValueError(f"it falls into {len(Chem.GetMolFrags(mol))} parts")
    return mol


def _neighbours(atoms: Atoms) -> list[tuple[int, int]]:
    """Bonded pairs. Errors: `ValueError` if two atoms lie in each other."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(element) for element in atoms.elements])
    distances = np.linalg.norm(atoms.places[:, None] - atoms.places[None], axis=-1)
    first, second = np.triu_indices(len(radii), k=1)
    apart = distances[first, second]
    if len(apart) and apart.min() < NEAREST_ANGSTROM:
        raise ValueError(f"two atoms are {apart.min():.2f} angstrom apart")
    bonded = apart < radii[first] + radii[second] + SLACK_ANGSTROM
    # Short ones first, in units of what a single bond would be: these are the likeliest to be double.
    order = np.argsort(apart[bonded] / (radii[first] + radii[second])[bonded], kind="stable")
    return [(int(a), int(b)) for a, b in zip(first[bonded][order], second[bonded][order], strict=True)]


def _options(atoms: Atoms, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """What each atom's allowed valences leave for double and triple bonds, ascending; [0] if none is large enough."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    degree = np.bincount(np.array(pairs, dtype=int).ravel(), minlength=len(atoms.elements))
    options = []
    for element, charge, hydrogens, neighbours in zip(atoms.elements, atoms.charges, atoms.hydrogens, degree, strict=True):
        # A charged atom has the valence of the neutral one with as many electrons: N+ that of C, O- that of F.
        isoelectronic = table.GetElementSymbol(max(1, table.GetAtomicNumber(element) - charge))
        used = int(neighbours) + hydrogens
        options.append(sorted(v - used for v in table.GetValenceList(isoelectronic) if v >= used) or [0])
    return options


def _orders(atoms: Atoms, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Extra order (0, 1, 2) of each bond so that nothing stays open; if that cannot be, as much as short bonds can take.

    Atoms with several valences (sulfur: 2, 4, 6) take the smallest ones at which it can.
    """
    options = _options(atoms, pairs)
    for left in sorted(islice(product(*options), TRIED), key=sum):
        extra = _matched(list(left), pairs, [0] * len(pairs), [TRIED])
        if extra is not None:
            return extra
    left, extra = [option[0] for option in options], [0] * len(pairs)
    for at, (a, b) in enumerate(pairs):
        extra[at] = min(left[a], left[b], 2)
        left[a] -= extra[at]
        left[b] -= extra[at]
    return extra


def _matched(left: list[int], pairs: Sequence[tuple[int, int]], extra: list[int], tries: list[int]) -> list[int] | None:
    """`extra` raised until no atom has anything left, or None: the atom with the fewest ways out first, short bonds first."""
    tries[0] -= 1
    if sum(left) % 2 or tries[0] < 0:
        return None
    usable = [at for at, (a, b) in enumerate(pairs) if left[a] and left[b] and extra[at] < 2]
    ways = {atom: [at for at in usable if atom in pairs[at]] for atom, n in enumerate(left) if n}
    if not ways:
        return extra
    for at in min(ways.values(), key=len):
        a, b = pairs[at]
        less = [n - (atom in (a, b)) for atom, n in enumerate(left)]
        found = _matched(less, pairs, [e + (i == at) for i, e in enumerate(extra)], tries)
        if found is not None:
            return found
    return None
