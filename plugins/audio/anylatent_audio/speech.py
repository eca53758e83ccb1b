"""Recorded speech: the prompts of the Asterisk telephone exchange, read from the fetched package without installing it."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from anylatent.data import Source, Split
from anylatent.files import debian_tar
from anylatent_audio.audio_data import AudioData
from anylatent_audio.sound import decode_sound, is_silent

if TYPE_CHECKING:
    from anylatent_audio.sounds import Sounds

_FOLDER = "/en_US_f_Allison/"


class Speech(AudioData, kind="audio.speech"):
    """English phrases, digits and letters by one speaker, 8 kHz at the source; prompts of more than `longest` seconds are cut there."""

    source: ClassVar[Source | None] = Source(
        registry="debian",
        package="asterisk-core-sounds-en-wav",
        version="1.6.1-1",
        sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        licence="CC BY-SA 3.0",
        attribution="Asterisk core sounds: recorded by Allison Smith, financial contributions by Digium, Inc., CC BY-SA 3.0",
        megabytes=18.3,
    )
    summary: ClassVar[str] = "558 spoken prompts, digits and letters, one English voice, 8 kHz; fetched (18.3 MB, Debian), CC BY-SA 3.0"

    rate: int = Field(default=8000, ge=4000, le=96000, description="Samples a second (Hz).")
    longest: float = Field(default=2.0, ge=0.1, le=60, description="Seconds that are kept of a prompt at most.")
    test_share: float = Field(default=0.1, gt=0, lt=1, description="How much is held out, by a hash of the sound.")

    def build(self, split: Split) -> "Sounds":
        """Open a split: conditions `caption` (the phrase's name), `label` (digits, letters, phonetic, …), `duration` (s).

        Errors: `FileNotFoundError` if the package was not fetched.
        """
        from anylatent_audio.sounds import Sounds

        sounds, conditions, ids, problems = [], [], [], []
        for name, content in _files(self.archive()):
            if _is_held_out(content, self.test_share) != (split == "test"):
                continue
            try:
                sound = decode_sound(content, name, self.rate, self.longest)
            except ValueError as error:
                problems.append(str(error))
                continue
            if is_silent(sound):
                problems.append(f"{name} is silent: left out")
                continue
            label, _, phrase = name.removesuffix(".wav").rpartition("/")
            words = phrase.replace("-", " ").replace("_", " ")
            sounds.append(sound)
            conditions.append({"caption": f"{label} {words}".strip(), "label": label or "phrases", "duration": round(sound.seconds, 4)})
            ids.append(name.removesuffix(".wav"))
        return Sounds(sounds, conditions, ids, problems)


def _files(package: Path) -> list[tuple[str, bytes]]:
    """Name and content of each prompt, sorted; the pauses of `silence/` are left out."""
    found = []
    with debian_tar(package) as archive:
        for member in archive:
            _, folder, name = member.name.partition(_FOLDER)
            file = archive.extractfile(member) if folder and name.endswith(".wav") and not name.startswith("silence/") else None
            if file is not None:
                found.append((name, file.read()))
    return sorted(found)


def _is_held_out(content: bytes, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big") % 10_000 < 10_000 * share
