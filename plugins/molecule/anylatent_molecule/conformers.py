"""Places of atoms from RDKit's distance geometry."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

SEED = 0xA11
"""One conformer a molecule, always the same."""


def embed(mol: "Mol", seconds: float) -> np.ndarray:
    """Places `(heavy atoms, 3)` in angstrom, in the molecule's atom order: ETKDGv3 (Wang et al. 2020), then MMFF94 relaxation.

    Hydrogens take part and are then left out. Errors: `ValueError` if no conformer is found within `seconds`.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    with rdBase.BlockLogs():
        whole = Chem.AddHs(mol)
        parameters = rdDistGeom.ETKDGv3()
        parameters.randomSeed = SEED
        parameters.timeout = max(1, round(seconds))
        try:
            found = rdDistGeom.EmbedMolecule(whole, parameters)
        except RuntimeError as error:
            # RDKit's own invariants, for atoms whose geometry it does not know.
            raise ValueError(f"no conformer: {str(error).strip().splitlines()[0]}") from error
        if found < 0:
            raise ValueError(f"no conformer of '{Chem.MolToSmiles(mol)}' found within {seconds:g} s")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(whole):
            rdForceFieldHelpers.MMFFOptimizeMolecule(whole, maxIters=500)
        places = whole.GetConformer().GetPositions()[: mol.GetNumAtoms()]
    return (places - places.mean(0)).astype(np.float32)
