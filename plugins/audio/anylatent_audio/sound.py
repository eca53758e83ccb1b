"""A sample of this plugin, and its conversions: 16-bit numbers, files, another rate."""

import io
import struct
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from anylatent.lazy import torch
from anylatent.types import Float, Int, Tensor

if TYPE_CHECKING:
    import numpy

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")


@dataclass(frozen=True, eq=False)
class Sound:
    """One channel of sound: float32 `samples (T,)` in [-1, 1], `rate` of them a second."""

    samples: Float[Tensor, " time"]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate

    def __len__(self) -> int:
        return len(self.samples)


def to_pcm(sound: Sound) -> Int[Tensor, " time"]:
    """The 16-bit numbers of a sound, as int32; what they cannot hold is clipped."""
    return (sound.samples.detach().cpu() * 32768).round().clamp(-32768, 32767).to(torch.int32)


def wav_bytes(sound: Sound) -> bytes:
    """A RIFF/WAVE file of 16-bit numbers, which every player opens."""
    content = to_pcm(sound).numpy().astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sound.rate, 2 * sound.rate, 2, 16)
    data = struct.pack("<4sI", b"data", len(content)) + content
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def read_sound(path: Path, rate: int, longest: float | None = None) -> Sound:
    """A user's file: its channels averaged, resampled to `rate`, cut to `longest` seconds.

    Errors: `ValueError` naming the file, if it is no sound, has none in it, is cut off, or holds numbers that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    return decode_sound(content, str(path), rate, longest)


def decode_sound(content: bytes, name: str, rate: int, longest: float | None = None) -> Sound:
    """`read_sound` of a file's content; `name` is what errors call it."""
    import soundfile

    if not content:
        raise ValueError(f"{name} is empty (0 bytes): expected WAV, FLAC, Ogg, MP3 or AIFF")
    missing = _missing_bytes(content)
    if missing:
        raise ValueError(f"{name} is cut off: {missing:,} bytes that its header promises are missing")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            given, promised = file.samplerate, file.frames
            wanted = promised if longest is None else min(promised, int(longest * given) + 1)
            numbers = file.read(wanted, dtype="float32", always_2d=True)
    # libsndfile's errors, and what its Python side makes of a header that promises nonsense.
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        why = str(error).rpartition(" object at 0x")[2].partition(">: ")[2] or str(error)  # without the address of the buffer
        raise ValueError(f"{name} is no sound that can be read: {why}; expected WAV, FLAC, Ogg, MP3 or AIFF") from error
    if not promised:
        raise ValueError(f"{name} holds no sound: its header is whole, but 0 samples follow")
    if len(numbers) < wanted:
        raise ValueError(f"{name} is cut off: {len(numbers):,} of {wanted:,} samples can be read")
    return _as_sound(numbers, given, rate, name, longest)


def is_silent(sound: Sound) -> bool:
    """Whether no sample is louder than one step of 16 bits (-90 dB)."""
    return bool(sound.samples.abs().max() < 1 / 32768)


def resampled(sound: Sound, rate: int) -> Sound:
    """At another rate (band-limited interpolation, Smith 1984, as torchaudio does it)."""
    from anylatent_audio.torchaudio_fallback import load

    if rate == sound.rate:
        return sound
    # A shared factor of any two real rates is large; one of 1 would need a filter of gigabytes.
    if max(rate, sound.rate) // gcd(rate, sound.rate) > 4000:
        raise ValueError(f"cannot resample {sound.rate} Hz to {rate} Hz: the rates have no large common factor; convert the file first")
    return Sound(load().functional.resample(sound.samples, sound.rate, rate).clamp(-1, 1), rate)


def _as_sound(numbers: "numpy.ndarray", given: int, rate: int, name: str, longest: float | None) -> Sound:
    samples = torch.from_numpy(numbers).mean(1)
    if not bool(samples.isfinite().all()):
        raise ValueError(f"{name} holds numbers that are not finite: expected samples in [-1, 1]")
    sound = resampled(Sound(samples.clamp(-1, 1), given), rate)
    return sound if longest is None else Sound(sound.samples[: max(1, round(longest * rate))].clone(), rate)


def _missing_bytes(content: bytes) -> int:
    """Of a WAV or AIFF file: how much of the chunk with the samples is not there. libsndfile would read the rest without a word."""
    kinds = {(b"RIFF", b"WAVE"): ("<4sI", b"data"), (b"FORM", b"AIFF"): (">4sI", b"SSND"), (b"FORM", b"AIFC"): (">4sI", b"SSND")}
    chunk, wanted = kinds.get((content[:4], content[8:12]), ("", b""))
    place = 12
    while chunk and place + 8 <= len(content):
        name, size = struct.unpack_from(chunk, content, place)
        if name == wanted:
            # Programs that write to a pipe do not know the size, and say the largest there is.
            return 0 if size >= 0xFFFFFFF0 else max(0, place + 8 + size - len(content))
        place += 8 + size + size % 2
    return 0
