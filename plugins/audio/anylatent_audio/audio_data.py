"""What the recipe nodes of all audio data sets have in common."""

from pydantic import Field

from anylatent.data import DatasetConfig


class AudioData(DatasetConfig):
    """A data set of sounds of one rate, which a user's files are brought to."""

    rate: int = Field(default=16000, ge=4000, le=96000, description="Samples a second (Hz).")
