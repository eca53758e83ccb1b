"""What the recipe nodes of all video data sets have in common."""

from anylatent.data import DatasetConfig
from anylatent_video.clip_form import ClipForm


class VideoData(DatasetConfig):
    """A data set of clips of one form, which a user's files can be brought to."""

    @property
    def form(self) -> ClipForm:
        """The form of every sample."""
        raise NotImplementedError
