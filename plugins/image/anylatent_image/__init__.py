"""Images for anylatent: data sets, a convolutional autoencoder, a viewer and class metrics."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_image.autoencoder_config import AutoencoderConfig
    from anylatent_image.class_agreement import ClassAgreement
    from anylatent_image.class_energy import ClassEnergy
    from anylatent_image.classifier import Classifier
    from anylatent_image.digits import Digits
    from anylatent_image.emoji import Emoji
    from anylatent_image.folder import Folder
    from anylatent_image.modality import Image

    return [Image, Digits, Emoji, Folder, AutoencoderConfig, Classifier, ClassAgreement, ClassEnergy]
