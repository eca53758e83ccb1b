"""The recipe node of the mel-spectrogram tokenizer."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from anylatent.spec import AxisSpec
from anylatent.tokenizers.config import TokenizerConfig

if TYPE_CHECKING:
    from anylatent_audio.mel import Mel


class MelConfig(TokenizerConfig, kind="audio.mel"):
    """Log-mel frames as tokens, `frames` of them a token; sounds come back by phase reconstruction (nothing is trained)."""

    window: int = Field(default=1024, ge=64, le=16384, description="Samples of an analysis window.")
    hop: int = Field(default=256, ge=16, le=4096, description="Samples between two frames: at most a quarter of the window.")
    bins: int = Field(default=128, ge=8, le=1024, description="Mel bands between 0 Hz and half the rate.")
    frames: int = Field(default=4, ge=1, le=64, description="Frames a token.")
    floor: float = Field(default=-80.0, lt=0, description="Decibels below a full-scale sine that count as silence.")
    iterations: int = Field(default=32, ge=0, le=1000, description="Rounds of phase reconstruction when decoding.")

    @model_validator(mode="after")
    def _overlaps(self) -> "MelConfig":
        if 4 * self.hop > self.window:
            raise ValueError(f"hop {self.hop} is more than a quarter of window {self.window}: frames must overlap for phases to be found")
        return self

    def build(self, example: Any, axes: tuple[AxisSpec, ...] = ()) -> "Mel":
        from anylatent_audio.mel import Mel

        return Mel(self, example)
