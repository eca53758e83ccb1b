"""What the recipe nodes of all image data sets have in common."""

from anylatent.data import DatasetConfig
from anylatent_image.pixels import Frame


class ImageData(DatasetConfig):
    """A data set of images of one form, which a user's files can be brought to."""

    @property
    def frame(self) -> Frame:
        """The form of every sample."""
        raise NotImplementedError
