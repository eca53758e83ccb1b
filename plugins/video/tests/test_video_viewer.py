"""Reading, showing and writing clips."""

import io
from pathlib import Path

import av
import numpy
import pytest
import torch
from PIL import Image as Pillow

from anylatent.testing import ModalityCase, ModalityContract
from anylatent_video.bounces import Bounces
from anylatent_video.clip_form import to_pixels, to_sample
from anylatent_video.folder import Folder
from anylatent_video.modality import Video
from anylatent_video.moving import Moving


def _noise(seed: int, frames: int = 6, height: int = 18, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return to_sample(torch.randint(0, 256, (frames, height, width, 3), generator=generator, dtype=torch.uint8))


class TestNoise(ModalityContract):
    """Nothing alike in any pixel of any frame; not square; at a rate that milliseconds cannot say."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Video(data=Folder(path=".", frames=6, size=(18, 12), fps=24)), [_noise(seed) for seed in range(3)])


class TestSprites(ModalityContract):
    """Also one that stands still: files merge equal frames, and reading parts them again."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        dataset = Moving(count=10).build("train")
        still = dataset[2].sample[:1].expand(8, -1, -1, -1).clone()
        return ModalityCase(Video(data=Moving()), [dataset[0].sample, dataset[1].sample, still])


def test_the_axes_are_seconds_and_pixels() -> None:
    axes = Video(data=Bounces(fps=20, fall=0.4)).sample_axes()
    assert [(axis.name, axis.unit, axis.step) for axis in axes] == [("t", "s", 0.05), ("y", "px", 1.0), ("x", "px", 1.0)]


def test_written_movies_play_at_the_clips_rate(tmp_path: Path) -> None:
    """The MP4 is H.264 with 4:2:0 and even sides, the GIF loops; both show every frame, as large as can be seen, and read back alike."""
    record = Moving(count=10).build("train")[0]
    modality = Video(data=Moving())
    written = modality.write([record.sample], tmp_path)
    assert [path.name for path in written] == ["0000.png", "0000.mp4", "0000.gif", "sheet.png"]
    with av.open(str(tmp_path / "0000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, float(stream.average_rate or 0), stream.pix_fmt) == (8, 8.0, "yuv420p")
        assert (stream.width, stream.height) == (128, 128)
    with Pillow.open(tmp_path / "0000.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (8, (128, 128), 0)
    for name, tolerance in (("0000.mp4", 0.05), ("0000.gif", 0.02)):
        assert (modality.read(tmp_path / name) - record.sample).abs().mean() < tolerance, name


def test_odd_sides_are_made_even_for_mp4(tmp_path: Path) -> None:
    Video(data=Moving()).write([_noise(0, 4, 151, 133)], tmp_path)
    with av.open(str(tmp_path / "0000.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (134, 152)


def test_a_still_picture_is_held(tmp_path: Path) -> None:
    """A user's image given to a run of clips: every frame is that image, so `first-frame` can begin from it."""
    path = tmp_path / "picture.png"
    Pillow.new("RGB", (40, 40), (200, 10, 10)).save(path)
    clip = Video(data=Moving()).read(path)
    assert clip.shape == (8, 16, 16, 3)
    assert to_pixels(clip).flatten(0, 2).unique(dim=0).tolist() == [[200, 10, 10]]


def test_the_sheet_is_filmstrips_of_every_frame() -> None:
    """Frame i stands i steps to the right, enlarged by a whole factor; long clips are thinned to twelve."""
    sample = _noise(1, 4, 16, 16)
    sheet = numpy.asarray(Pillow.open(io.BytesIO(Video(data=Moving()).sheet([sample], ["noise"]))).convert("RGB"))
    for frame in range(4):
        y, x = 10 + 18 + 2, 10 + 2 + frame * 50
        tile = sheet[y : y + 48, x : x + 48].reshape(16, 3, 16, 3, 3)
        assert (tile == to_pixels(sample[frame]).numpy()[:, None, :, None]).all(), frame
    assert Pillow.open(io.BytesIO(Video(data=Moving()).sheet([_noise(1, 40, 16, 16)]))).width == 20 + 12 * 50 + 2


def test_a_sheet_needs_clips_and_as_many_captions() -> None:
    modality = Video(data=Moving())
    with pytest.raises(ValueError, match="at least one clip, given none"):
        modality.sheet([])
    with pytest.raises(ValueError, match="1 captions for 2 clips: give one each, or none"):
        modality.sheet([_noise(0)] * 2, ["one"])
    with pytest.raises(ValueError, match=r"a clip is \(frames, height, width, 3\), given \(8, 8, 3\)"):
        modality.sheet([torch.zeros(8, 8, 3)])
