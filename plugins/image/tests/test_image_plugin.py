"""What the plugin offers, and that describing it costs nothing."""

import subprocess
import sys

from anylatent.node import Components
from anylatent_image import anylatent_components


def test_every_kind_is_in_the_namespace() -> None:
    components = Components(anylatent_components())
    assert components.kinds("modality") == ["image"]
    assert all(node.kind == "image" or node.kind.startswith("image.") for node in components)
    assert components.kinds("dataset") == ["image.digits", "image.emoji", "image.folder"]


def test_describing_imports_nothing_heavy() -> None:
    """Recipes are read, and data sets listed, without torch, numpy, Pillow or scikit-learn."""
    code = (
        "import sys, anylatent_image\n"
        "anylatent_image.anylatent_components()\n"
        "from anylatent_image.folder import Folder; Folder(path='.').frame\n"
        "print({'torch', 'numpy', 'PIL', 'sklearn', 'emoji', 'matplotlib'} & set(sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
