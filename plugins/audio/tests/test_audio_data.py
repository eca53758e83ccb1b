"""The data sets: their contract, what they hold, and what becomes of bad files."""

import io
import itertools
import wave
from pathlib import Path

import numpy
import pytest
import soundfile
import torch

from anylatent.data import Record
from anylatent.testing import DatasetCase, DatasetContract, Listed
from anylatent_audio.folder import Folder
from anylatent_audio.modality import Audio
from anylatent_audio.notes import Notes
from anylatent_audio.pitch_estimate import estimate_pitch
from anylatent_audio.sound import Sound, decode_sound, read_sound, wav_bytes
from anylatent_audio.speech import Speech
from anylatent_audio.struck import Struck

FEW = Notes(instruments=("flute", "piano"), velocities=(90,), seconds=(0.3, 0.4), rate=8000, test_share=0.2)


def _tone(hertz: float = 440.0, seconds: float = 0.5, rate: int = 16000) -> numpy.ndarray:
    return (0.5 * numpy.sin(2 * numpy.pi * hertz * numpy.arange(int(seconds * rate)) / rate)).astype("float32")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of several formats, rates and channels, among bad ones."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "bells").mkdir()
    for index, suffix in enumerate(["wav", "flac", "ogg", "mp3", "aiff", "wav"]):
        rate = (16000, 44100, 22050, 44100, 8000, 48000)[index]
        tone = _tone(300 + 40 * index, rate=rate)
        soundfile.write(root / "bells" / f"tone_{index}.{suffix}", numpy.stack([tone, tone], 1) if index % 2 else tone, rate)
    (root / "empty.wav").write_bytes(b"")
    (root / "text.mp3").write_bytes(b"this is no sound")
    (root / "notes.txt").write_text("not looked at")
    whole = wav_bytes(Sound(torch.from_numpy(_tone(700)), 16000))
    (root / "cut.wav").write_bytes(whole[:5000])
    (root / "hollow.wav").write_bytes(wav_bytes(Sound(torch.zeros(0), 16000)))
    (root / "silent.wav").write_bytes(wav_bytes(Sound(torch.zeros(4000), 16000)))
    soundfile.write(root / "nan.wav", numpy.full(500, numpy.nan, "float32"), 16000, subtype="FLOAT")
    soundfile.write(root / "cut.flac", _tone(900, 3.0), 16000)
    flac = (root / "cut.flac").read_bytes()
    (root / "cut.flac").write_bytes(flac[: len(flac) // 3])
    return root


class TestNotes(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        return DatasetCase(FEW, Audio(data=FEW))


class TestStruck(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Struck(count=60, rate=8000)
        return DatasetCase(config, Audio(data=config))


class TestFolder(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, sounds: Path) -> DatasetCase:
        config = Folder(path=str(sounds / "bells"), test_share=0.4)
        return DatasetCase(config, Audio(data=config))


@pytest.mark.skipif(not (Speech.source and Speech.source.path.exists()), reason="`anylatent data fetch audio.speech` was not run")
class TestSpeech(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Speech()
        return DatasetCase(config, Audio(data=config))

    def test_prompts_are_named_and_cut(self) -> None:
        train = Speech(longest=1.0).build("train")
        assert len(train) > 450
        assert not train.problems
        records = [train[i] for i in range(len(train))]
        assert {"digits", "letters", "phonetic", "phrases"} <= {r.conditions["label"] for r in records}
        assert all(len(r.sample) <= 8000 and r.sample.samples.any() for r in records)


def test_speech_says_how_it_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch audio\.speech` \(18\.3 MB, CC BY-SA 3\.0\)"):
        Speech().build("train")
    assert Speech.source is not None
    Speech.source.path.parent.mkdir(parents=True)
    Speech.source.path.write_bytes(b"not a package")
    with pytest.raises(ValueError, match="is no Debian package"):
        Speech().build("train")


def test_the_built_in_notes_are_what_the_summary_says() -> None:
    train, test = (Notes().build(split) for split in ("train", "test"))
    assert f"{len(train) + len(test):,} as it stands" in Notes.summary
    assert 0.07 < len(test) / (len(train) + len(test)) < 0.13
    record = train[1000]
    assert record.sample.seconds == record.conditions["duration"]
    assert set(record.conditions) == {"instrument", "pitch", "velocity", "duration", "caption"}


def test_notes_have_the_pitch_that_their_conditions_say() -> None:
    """A tenth of the held-out ones, of every instrument: within a quarter tone."""
    test = Notes().build("test")
    for index in range(0, len(test), 10):
        record = test[index]
        assert estimate_pitch(record.sample) == pytest.approx(record.conditions["pitch"], abs=0.5), record.id


def test_captions_say_instrument_register_and_loudness() -> None:
    config = Notes(instruments=("flute",), lowest=59, highest=72, velocities=(50, 90, 120), seconds=(0.2,), test_share=0.05)
    captions = {record.id: record.conditions["caption"] for record in map(config.build("train").__getitem__, range(30))}
    assert captions["flute-B3-v90-0.2s"] == "a low flute note"
    assert captions["flute-C4-v50-0.2s"] == "a soft middle flute note"
    assert all("high" not in text for name, text in captions.items() if "C5" not in name)


def test_bad_descriptions_of_notes_are_refused() -> None:
    with pytest.raises(ValueError, match="no instrument 'kazoo': choose among banjo, bass, "):
        Notes(instruments=("flute", "kazoo"))
    with pytest.raises(ValueError, match="highest pitch 50 is below the lowest, 60"):
        Notes(lowest=60, highest=50)
    with pytest.raises(FileNotFoundError, match=r"mine\.sf2: give the path of a \.sf2 file"):
        Notes(soundfont="/nowhere/mine.sf2").build("train")


def test_struck_clips_sound_at_their_events() -> None:
    """Nothing before the first event; a rise at each; the length that was asked for."""
    clips = Struck(count=40, strikes=3, rate=16000).build("train")
    for index in range(20):
        record = clips[index]
        samples, events = record.sample.samples, record.conditions["events"]
        assert record.sample.seconds == record.conditions["seconds"] == 1.0
        assert record.conditions["strikes"] == len(events) >= 1
        first = round(events[0][0] * 16000)
        assert not samples[:first].any()
        assert samples[first : first + 1600].abs().max() > 0.01
        assert all(b[0] - a[0] >= 0.15 for a, b in itertools.pairwise(events))


def test_struck_follows_another_data_set() -> None:
    """A clip a record, at its events, as long as it; deterministic, fingerprinted by what it plays."""
    leading = Listed([Record(None, {"events": ((0.25, 60), (0.5, 72)), "seconds": 0.8}, f"clip {i}") for i in range(3)])
    beside = Struck(rate=8000).beside(leading, "train")
    assert len(beside) == 3
    assert beside[1].id == "clip 1"
    assert len(beside[0].sample) == 6400
    assert torch.equal(beside[0].sample.samples, beside[2].sample.samples)
    assert beside.fingerprint() == Struck(rate=8000).beside(leading, "train").fingerprint()
    heard = Audio(data=Struck()).events(beside[0].sample)
    assert heard == pytest.approx([0.25, 0.5], abs=0.01)


def test_struck_refuses_what_it_cannot_play() -> None:
    def following(conditions: dict) -> None:
        Struck().beside(Listed([Record(None, conditions, "clip 7")]), "train")

    with pytest.raises(ValueError, match=r"record 0 \('clip 7'\) has no conditions `events` and `seconds`, it has \['label'\]"):
        following({"label": 3})
    with pytest.raises(ValueError, match=r"record 0 .*expected pairs \(seconds, MIDI pitch\)"):
        following({"events": [1, 2], "seconds": 1.0})
    with pytest.raises(ValueError, match="must lie within 0 and 1 s"):
        following({"events": [(1.5, 60)], "seconds": 1.0})
    with pytest.raises(ValueError, match="no instrument 'gong'"):
        Struck(instrument="gong")


def test_files_of_every_format_are_heard_alike(sounds: Path) -> None:
    """WAV, FLAC, Ogg, MP3, AIFF; one channel or two; 8 to 48 kHz: at the asked rate, of their pitch and length."""
    for index, path in enumerate(sorted((sounds / "bells").iterdir())):
        sound = read_sound(path, 16000)
        assert sound.rate == 16000
        assert sound.seconds == pytest.approx(0.5, abs=0.08)  # MP3 has a lead-in
        expected = 69 + 12 * numpy.log2((300 + 40 * index) / 440)
        assert estimate_pitch(sound) == pytest.approx(expected, abs=0.2), path.name


def test_bad_files_are_named_and_left_out(sounds: Path) -> None:
    """Each with what is wrong, in one of the splits; the good ones are all there."""
    splits = [Folder(path=str(sounds), test_share=0.3).build(split) for split in ("train", "test")]
    problems = "\n".join(problem for split in splits for problem in split.problems)
    for text in (
        "empty.wav is empty (0 bytes)", "text.mp3 is no sound that can be read", "cut.wav is cut off: 11,044 bytes",
        "hollow.wav holds no sound", "silent.wav is silent in its first", "nan.wav holds numbers that are not finite",
    ):  # fmt: skip
        assert text in problems
    assert "cut.flac" in problems
    assert sum(len(split.problems) for split in splits) == 7
    records = [split[i] for split in splits for i in range(len(split))]
    assert read_sound(sounds / "bells" / "tone_0.wav", 16000, longest=0.1).seconds == 0.1
    assert sorted(record.id for record in records) == [f"bells/{p.name}" for p in sorted((sounds / "bells").iterdir())]
    assert all(record.conditions["label"] == "bells" for record in records)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
def test_a_file_cut_off_anywhere_is_named(suffix: str, share: float) -> None:
    """Of every format: never read as if the rest had not been there, and no address of ours in the message."""
    content = io.BytesIO()
    soundfile.write(content, _tone(500, 2.0), 16000, format=suffix)
    cut = content.getvalue()[: int(share * len(content.getvalue()))]
    with pytest.raises(ValueError, match=rf"^tone\.{suffix} (is empty|is cut off|is no sound that can be read|holds no sound)") as caught:
        decode_sound(cut, f"tone.{suffix}", 16000)
    assert "0x" not in str(caught.value)


def test_a_strict_folder_stops_at_the_first_bad_file(sounds: Path) -> None:
    with pytest.raises(ValueError, match=r"(empty|cut|hollow|silent|nan|text)\."):
        Folder(path=str(sounds), strict=True).build("train")


def test_a_folder_that_is_not_there_or_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere: audio.folder needs `path`"):
        Folder(path=str(tmp_path / "nowhere")).build("train")
    with pytest.raises(ValueError, match=r"holds 0 different sounds, expected 2 or more .*\.wav, \.flac"):
        Folder(path=str(tmp_path)).build("train")
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(ValueError, match=r"none of the sounds of split 'train' .*1 tried"):
        Folder(path=str(tmp_path)).build("train")


def test_other_programs_open_what_is_written(tmp_path: Path) -> None:
    """Python's own wave module reads the same numbers."""
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(Sound(torch.from_numpy(_tone()), 16000)))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, 16000, 8000)
        numbers = numpy.frombuffer(file.readframes(8000), "<i2") / 32768
    assert numpy.abs(numbers - _tone()).max() < 1 / 32768


def test_rates_that_share_no_factor_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "odd.wav", _tone(), 44101)
    with pytest.raises(ValueError, match="cannot resample 44101 Hz to 16000 Hz"):
        read_sound(tmp_path / "odd.wav", 16000)
