"""Point clouds for anylatent: data sets, tokenizers, an editor, a viewer and set metrics."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_points.agreement import CategoryAgreement, ExtentError
    from anylatent_points.complete import Complete
    from anylatent_points.folder import Folder
    from anylatent_points.furniture import Furniture
    from anylatent_points.latent import LatentConfig
    from anylatent_points.modality import Points
    from anylatent_points.primitives import Primitives
    from anylatent_points.reconstruction import Reconstruction
    from anylatent_points.set_metrics import SetDistance
    from anylatent_points.street import Street
    from anylatent_points.tokens import LeavesConfig, PointSetConfig
    from anylatent_points.voxels import VoxelsConfig

    data = [Primitives, Furniture, Street, Folder]
    return [
        Points,
        *data,
        PointSetConfig,
        LeavesConfig,
        LatentConfig,
        VoxelsConfig,
        Complete,
        SetDistance,
        CategoryAgreement,
        ExtentError,
        Reconstruction,
    ]
