"""Video for anylatent: data sets of clips, a causal autoencoder, edits in time, a viewer and motion metrics."""

from anylatent.hookspecs import hookimpl
from anylatent.node import Node

anylatent_api = 1


@hookimpl
def anylatent_components() -> list[type[Node]]:
    """Every component of this plugin."""
    from anylatent_video.autoencoder_config import AutoencoderConfig
    from anylatent_video.bounces import Bounces
    from anylatent_video.features import ClipFeatures
    from anylatent_video.fluent import Fluent
    from anylatent_video.folder import Folder
    from anylatent_video.frames_editor import Frames
    from anylatent_video.modality import Video
    from anylatent_video.motion_agreement import MotionAgreement
    from anylatent_video.moving import Moving
    from anylatent_video.stream import Stream

    return [Video, Moving, Bounces, Fluent, Folder, AutoencoderConfig, Frames, ClipFeatures, MotionAgreement, Stream]
