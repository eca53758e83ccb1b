"""What the plugin offers, and that describing it costs nothing."""

import subprocess
import sys

from anylatent.node import Components
from anylatent_points import anylatent_components


def test_every_kind_is_in_the_namespace() -> None:
    components = Components(anylatent_components())
    assert components.kinds("modality") == ["points"]
    assert all(node.kind == "points" or node.kind.startswith("points.") for node in components)
    assert components.kinds("dataset") == ["points.folder", "points.furniture", "points.primitives", "points.street"]
    assert components.kinds("tokenizer") == ["points.latent", "points.leaves", "points.set", "points.voxels"]


def test_describing_imports_nothing_heavy() -> None:
    """Recipes are read, and data sets listed, without torch, numpy, trimesh, scikit-image, scipy or Pillow."""
    code = (
        "import sys, anylatent_points\n"
        "anylatent_points.anylatent_components()\n"
        "from anylatent_points.primitives import Primitives; from anylatent_points.modality import Points; Points(data=Primitives())\n"
        "print({'torch', 'numpy', 'trimesh', 'skimage', 'scipy', 'PIL', 'matplotlib'} & set(sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
