"""Molecules for anylatent: data sets, a text and a 3D tokenizer, fragments to keep, chemistry metrics, a viewer."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node
from anylatent_molecule.molecule import Molecule

__all__ = ["Molecule", "anylatent_components"]

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_molecule.data import Moses, Named, Nci, UserFile
    from anylatent_molecule.energy import PropertyEnergy
    from anylatent_molecule.fragment import Fragment
    from anylatent_molecule.metrics.chemnet import ChemNet, ChemNetDistance
    from anylatent_molecule.metrics.descriptors import DescriptorFeatures
    from anylatent_molecule.metrics.diversity import Diversity
    from anylatent_molecule.metrics.properties import Properties
    from anylatent_molecule.metrics.validity import Validity
    from anylatent_molecule.modality import MoleculeModality
    from anylatent_molecule.tokenizers import ConformerConfig, SequenceConfig

    return [
        MoleculeModality,
        Moses, Named, Nci, UserFile,
        ConformerConfig, SequenceConfig,
        Fragment,
        PropertyEnergy,
        ChemNet, ChemNetDistance, DescriptorFeatures, Diversity, Properties, Validity,
    ]  # fmt: skip
