"""The SoundFont reader: its notes have the pitch, the loudness and the length that were asked for."""

import struct
from pathlib import Path

import numpy
import pytest
import torch

from anylatent_audio.instruments import PROGRAMS
from anylatent_audio.pitch_estimate import estimate_pitch
from anylatent_audio.pitch_names import frequency
from anylatent_audio.sound import Sound
from anylatent_audio.soundfont import SoundFont, default_soundfont, soundfont

RATE = 16000


def _note(program: int, key: int, velocity: int = 100, held: float = 0.6, seconds: float = 0.8) -> numpy.ndarray:
    return soundfont(default_soundfont()).note(program, key, velocity, held, seconds, RATE)


@pytest.mark.parametrize("name", ["piano", "trumpet", "violin", "flute", "marimba"])
def test_notes_sound_at_their_pitch(name: str) -> None:
    """Within 20 cents, over three octaves."""
    for key in (50, 61, 72, 83):
        pitch = estimate_pitch(Sound(torch.from_numpy(_note(PROGRAMS[name], key)), RATE))
        assert pitch is not None
        assert abs(pitch - key) < 0.2, f"{name} {key}: {pitch}"


def test_a_harder_stroke_is_louder_and_a_released_note_ends() -> None:
    soft, loud = (float(numpy.abs(_note(73, 60, velocity)).max()) for velocity in (50, 110))
    assert loud / soft == pytest.approx((110 / 50) ** 2, rel=0.01)
    note = _note(73, 60, held=0.3, seconds=1.0)
    assert numpy.abs(note[: RATE // 4]).max() > 20 * numpy.abs(note[-RATE // 10 :]).max()


def test_loops_go_on_as_long_as_the_key_is_down() -> None:
    """Three seconds of a flute, whose sample is shorter: as loud at the end as in the middle, still at its pitch."""
    note = _note(73, 65, held=3.0, seconds=3.0)
    last = torch.from_numpy(note[-RATE:])
    assert last.square().mean() > 0.3 * torch.from_numpy(note[RATE:-RATE]).square().mean()
    assert estimate_pitch(Sound(last, RATE)) == pytest.approx(65, abs=0.3)


def test_what_a_low_rate_cannot_hold_is_left_out() -> None:
    """At 8 kHz a bright note has what it has at 16 kHz below 3.5 kHz, not what lies above folded back."""
    font = soundfont(default_soundfont())
    low, high = (numpy.abs(numpy.fft.rfft(font.note(56, 84, 100, 0.5, 0.5, rate))) for rate in (8000, RATE))
    below = slice(0, 1700)  # 2 Hz a bin
    apart = numpy.linalg.norm(2 * low[below] - high[below]) / numpy.linalg.norm(high[below])
    assert apart < 0.2


def test_another_synthesiser_plays_the_same_pitches() -> None:
    """tinysoundfont, where it is installed, on the same file: the strongest partials are the same."""
    tinysoundfont = pytest.importorskip("tinysoundfont")
    for program, key in ((0, 60), (56, 60), (40, 72), (73, 72), (12, 48)):
        synth = tinysoundfont.Synth(samplerate=RATE)
        synth.program_select(0, synth.sfload(str(default_soundfont())), 0, program)
        synth.noteon(0, key, 100)
        other = numpy.frombuffer(synth.generate(RATE), numpy.float32).reshape(-1, 2).mean(1)
        mine = _note(program, key, held=1.0, seconds=1.0)
        levels = [numpy.log(numpy.abs(numpy.fft.rfft(x[2000:10192] * numpy.hanning(8192))) + 1e-3)[:2000] for x in (mine, other)]
        assert numpy.corrcoef(*levels)[0, 1] > 0.6, (program, key)
        near = int(frequency(key) * 8192 / RATE)
        peaks = [near - 10 + int(level[near - 10 : near + 11].argmax()) for level in levels]
        assert abs(peaks[0] - peaks[1]) <= 1


def test_what_is_no_soundfont_is_named(tmp_path: Path) -> None:
    whole = default_soundfont().read_bytes()
    contents = {"text": b"no soundfont", "empty": b"", "cut": whole[:4_000_000], "hollow": struct.pack("<4sI4s", b"RIFF", 4, b"sfbk")}
    for name, content in contents.items():
        path = tmp_path / f"{name}.sf2"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.sf2 cannot be read as a SoundFont 2 file"):
            SoundFont(path)
    with pytest.raises(FileNotFoundError, match=r"no SoundFont file .*nowhere\.sf2: give the path"):
        soundfont(tmp_path / "nowhere.sf2")


def test_what_a_soundfont_cannot_play_is_said() -> None:
    font = soundfont(default_soundfont())
    with pytest.raises(ValueError, match="no General MIDI program 500; it has"):
        font.note(500, 60, 100, 0.5, 0.5, RATE)
    with pytest.raises(ValueError, match="nothing to play for program 65, key 64"):
        font.note(65, 64, 90, 0.5, 0.5, RATE)
