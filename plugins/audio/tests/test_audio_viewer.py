"""Reading, showing and writing sounds, and hearing when they begin."""

import io
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image as Pillow

from anylatent.testing import ModalityCase, ModalityContract
from anylatent_audio.modality import Audio
from anylatent_audio.notes import Notes
from anylatent_audio.onsets import onsets
from anylatent_audio.sound import Sound
from anylatent_audio.spectrogram import pitch_levels
from anylatent_audio.struck import Struck

AUDIO = Audio(data=Notes())


def _tone(hertz: float, seconds: float = 0.5, rate: int = 16000) -> Sound:
    return Sound(0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate), rate)


class TestSounds(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(AUDIO, [_tone(200), _tone(300, 0.3), _tone(400, 0.05)])


def test_pictures_show_pitch_and_time() -> None:
    """A tone is a line at its pitch; half a second of silence before it is dark."""
    for hertz, expected in ((110, 45), (440, 69), (1760, 93)):
        levels = pitch_levels(_tone(hertz), 40, 84)
        assert 120 - int(levels.mean(1).argmax()) - 0.5 == pytest.approx(expected, abs=1.5), hertz
        assert levels.max() == pytest.approx(-6, abs=2)
    late = Sound(torch.cat((torch.zeros(8000), _tone(440).samples)), 16000)
    levels = pitch_levels(late, 40, 84).amax(0)
    assert levels[:15].max() < -100
    assert levels[25:].min() > -20


def test_the_sheet_is_on_one_scale_of_time() -> None:
    """A sound of half the length has a picture of half the width."""
    sheet = numpy.asarray(Pillow.open(io.BytesIO(AUDIO.sheet([_tone(440, 1.0), _tone(440, 0.5)] * 4))).convert("L")).astype(int)
    dark = (sheet[8:134] < 60).sum(0) > 60
    runs = numpy.diff(numpy.flatnonzero(numpy.diff(numpy.concatenate(([0], dark, [0])))))[::2]
    assert runs.tolist() == pytest.approx([168, 84, 168], abs=8)  # the attacks are bright


def test_a_sheet_needs_sounds_and_as_many_captions() -> None:
    with pytest.raises(ValueError, match="at least one sound, given none"):
        AUDIO.sheet([])
    with pytest.raises(ValueError, match="1 captions for 2 sounds: give one each, or none"):
        AUDIO.sheet([_tone(200)] * 2, ["one"])
    assert AUDIO.sheet([_tone(200)], ["a caption that is far too long for its place, in words " * 3 + "or" * 60])


def test_written_sounds_are_named_in_order(tmp_path: Path) -> None:
    written = AUDIO.write([_tone(200), _tone(300)], tmp_path / "out")
    assert [path.name for path in written] == ["0000.wav", "0001.wav", "sheet.png"]


def test_a_users_file_comes_at_the_rate_of_the_data(tmp_path: Path) -> None:
    (path, *_) = AUDIO.write([_tone(440, rate=44100)], tmp_path)
    assert AUDIO.read(path).rate == 16000
    assert Audio(data=Notes(rate=8000)).read(path).rate == 8000
    with pytest.raises(ValueError, match=r"nowhere\.wav cannot be read: No such file"):
        AUDIO.read(tmp_path / "nowhere.wav")


@pytest.mark.parametrize("instrument", ["marimba", "piano"])
def test_onsets_are_heard_when_notes_are_struck(instrument: str) -> None:
    """Each within 12 ms, none missed and none invented, in 40 clips of up to three notes."""
    clips = Struck(instrument=instrument, strikes=3, count=44).build("train")
    assert len(clips) > 30
    for record in map(clips.__getitem__, range(len(clips))):
        heard = AUDIO.events(record.sample)
        assert heard == pytest.approx([time for time, _ in record.conditions["events"]], abs=0.012), record.id


def test_silence_and_a_steady_tone_have_no_further_onset() -> None:
    assert onsets(Sound(torch.zeros(8000), 16000)) == []
    assert onsets(_tone(440)) == pytest.approx([0.0], abs=0.01)
    assert onsets(Sound(torch.zeros(5), 16000)) == []
