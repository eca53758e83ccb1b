"""What the plugin offers, and that describing it costs nothing."""

import subprocess
import sys

from anylatent.node import Components
from anylatent_video import anylatent_components


def test_every_kind_is_in_the_namespace() -> None:
    components = Components(anylatent_components())
    assert components.kinds("modality") == ["video"]
    assert all(node.kind == "video" or node.kind.startswith("video.") for node in components)
    assert components.kinds("dataset") == ["video.bounces", "video.fluent", "video.folder", "video.moving"]


def test_describing_imports_nothing_heavy() -> None:
    """Recipes are read, and data sets listed, without torch, numpy, Pillow or PyAV."""
    code = (
        "import sys, anylatent_video\n"
        "anylatent_video.anylatent_components()\n"
        "from anylatent_video.moving import Moving; Moving().form\n"
        "from anylatent_video.modality import Video; Video(data=Moving()).sample_axes()\n"
        "print({'torch', 'numpy', 'PIL', 'av', 'emoji', 'matplotlib'} & set(sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
