"""Reading, showing and writing images."""

import io
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image as Pillow

from anylatent.testing import ModalityCase, ModalityContract
from anylatent_image.digits import Digits
from anylatent_image.folder import Folder
from anylatent_image.modality import Image
from anylatent_image.pixels import Frame, to_pixels, to_sample


def _noise(height: int, width: int, channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return to_sample(torch.randint(0, 256, (height, width, channels), generator=generator, dtype=torch.uint8))


class TestGrey(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Image(data=Digits()), [_noise(8, 8, 1, seed) for seed in range(3)])


class TestColour(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Image(data=Folder(path=".", size=(24, 16))), [_noise(24, 16, 3, seed) for seed in range(3)])


def _opened(png: bytes) -> numpy.ndarray:
    return numpy.asarray(Pillow.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_every_8_bit_value_survives() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1)
    assert torch.equal(to_pixels(to_sample(pixels)), pixels)
    assert to_pixels(torch.tensor([[[-3.0], [3.0]]])).flatten().tolist() == [0, 255]


def test_the_sheet_shows_the_pixels_enlarged() -> None:
    """An 8 x 8 digit is 64 x 64 on the sheet, each pixel a block of one colour; the second tile is beside the first."""
    train = Digits().build("train")
    samples = [train[i].sample for i in range(4)]
    sheet = _opened(Image(data=Digits()).sheet(samples))
    assert sheet.shape[0] == sheet.shape[1], "four squares are two by two"
    for index, sample in enumerate(samples):
        row, column = divmod(index, 2)
        y, x = 8 + row * 72, 8 + column * 72
        tile = sheet[y : y + 64, x : x + 64].reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(8, 8, -1)
        assert (tile == to_pixels(sample).numpy().astype(int)).all()


def test_large_images_are_shown_smaller() -> None:
    sheet = _opened(Image(data=Digits()).sheet([_noise(600, 300, 3, 0)]))
    assert sheet.shape[:2] == (256 + 16, 128 + 16)


def test_captions_lie_below_and_keep_to_their_tile() -> None:
    """The tiles stay as they are; text is drawn under its own tile only, in two lines at most."""
    samples = [torch.zeros(8, 8, 1)] * 2
    modality = Image(data=Digits())
    with_text = _opened(modality.sheet(samples, ["a very long caption that cannot possibly fit below one tile", ""]))
    assert (with_text[8:72, 8:72] == 128).all()
    assert (with_text[8:72, 80:144] == 128).all()
    below = (with_text[73:] < 200).any(-1)
    assert below[:, 8:72].any()
    assert not below[:, 73:].any()


def test_a_sheet_needs_images_and_as_many_captions() -> None:
    modality = Image(data=Digits())
    with pytest.raises(ValueError, match="at least one image, given none"):
        modality.sheet([])
    with pytest.raises(ValueError, match="1 captions for 2 images: give one each, or none"):
        modality.sheet([torch.zeros(8, 8, 1)] * 2, ["one"])
    with pytest.raises(ValueError, match=r"1 channel \(grey\) or 3 \(sRGB\), given \(8, 8, 2\)"):
        modality.sheet([torch.zeros(8, 8, 2)])


def test_written_files_are_the_samples(tmp_path: Path) -> None:
    samples = [_noise(24, 16, 3, seed) for seed in range(3)]
    written = Image(data=Digits()).write(samples, tmp_path / "out")
    assert [path.name for path in written] == ["0000.png", "0001.png", "0002.png", "sheet.png"]
    for path, sample in zip(written, samples):
        assert (numpy.asarray(Pillow.open(path)) == to_pixels(sample).numpy()).all()


def test_a_users_file_is_brought_to_the_form_of_the_data(tmp_path: Path) -> None:
    """A large colour photograph for a run on digits: 8 x 8 grey, on black; and for a run on a folder, its size."""
    path = tmp_path / "photo.jpg"
    Pillow.new("RGB", (300, 200), (255, 255, 255)).save(path)
    digit = Image(data=Digits()).read(path)
    assert digit.shape == (8, 8, 1)
    assert digit[0].max() == -1
    assert digit[4].min() == 1
    assert Image(data=Folder(path=".", size=(20, 30))).read(path).shape == (20, 30, 3)


def test_pictures_of_every_mode_are_read(tmp_path: Path) -> None:
    """Grey with 16 bits, palette with transparency, CMYK, one bit, turned by EXIF: what Pillow opens, a run reads."""
    frame = Frame(4, 4, 3)
    deep = Pillow.fromarray(numpy.full((4, 4), 65535 // 2, dtype=numpy.uint16))
    palette = Pillow.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0] * 256)
    transparent = palette.copy()
    transparent.info["transparency"] = 0
    cases = {
        "deep": (deep, [127, 127, 127]), "palette": (palette, [255, 0, 0]), "transparent": (transparent, [255, 255, 255]),
        "grey": (Pillow.new("L", (4, 4), 7), [7, 7, 7]), "faint": (Pillow.new("LA", (4, 4), (0, 0)), [255, 255, 255]),
        "bit": (Pillow.new("1", (4, 4), 1), [255, 255, 255]),
    }  # fmt: skip
    for name, (picture, expected) in cases.items():
        picture.save(tmp_path / f"{name}.png")
        assert frame.read(tmp_path / f"{name}.png")[0, 0].tolist() == expected, name
    Pillow.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "ink.jpg")
    assert max(frame.read(tmp_path / "ink.jpg")[0, 0].tolist()) < 40
    turned = Pillow.new("RGB", (4, 4), "black")
    turned.paste("white", (0, 0, 4, 2))
    exif = Pillow.Exif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    assert frame.read(tmp_path / "turned.png")[:, 0, 0].tolist() == [0, 0, 255, 255]


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Pillow.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut\.png cannot be read as an image: "):
        Image(data=Digits()).read(path)
    with pytest.raises(ValueError, match=r"nowhere\.png cannot be read as an image: .*No such file"):
        Image(data=Digits()).read(tmp_path / "nowhere.png")
