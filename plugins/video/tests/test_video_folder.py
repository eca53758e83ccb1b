"""The user's own files: read, cut into clips, and named when they cannot be."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from PIL import Image as Pillow

from anylatent.data import Dataset
from anylatent.testing import DatasetCase, DatasetContract
from anylatent_video.clip_form import ClipForm
from anylatent_video.folder import Folder
from anylatent_video.modality import Video
from anylatent_video.reading import read_clip


def _pictures(count: int, shade: int, size: tuple[int, int] = (48, 32)) -> list[Pillow.Image]:
    return [Pillow.new("RGB", size, (shade, 10 * frame, 100)) for frame in range(count)]


def _movie(path: Path, count: int, shade: int = 0, fps: int = 8, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 48, 32, "yuv420p", 1
        for picture in _pictures(count, shade):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


def _gif(path: Path, count: int, shade: int = 0, milliseconds: int = 125) -> Path:
    first, *rest = _pictures(count, shade)
    first.save(path, save_all=True, append_images=rest, duration=milliseconds)
    return path


@pytest.fixture(scope="class")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of several kinds in two subfolders, and bad ones."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("cats", "dogs", ".hidden"):
        (root / name).mkdir()
    _movie(root / "cats" / "a_black_cat.mp4", 20, 30)
    _movie(root / "cats" / "other.mkv", 9, 60)
    _gif(root / "dogs" / "dog.gif", 9, 90)
    _gif(root / "dogs" / "dog.webp", 9, 120)
    _movie(root / "loose.avi", 18, 150)
    _movie(root / ".hidden" / "no.mp4", 9, 180)
    whole = (root / "cats" / "a_black_cat.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.webm").write_bytes(b"this is no video")
    (root / "picture.png").write_bytes(_still(root))
    return root


def _still(root: Path) -> bytes:
    path = root / ".still.png"
    Pillow.new("RGB", (30, 30)).save(path)
    return path.read_bytes()


class TestFolder(DatasetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, folder: Path) -> DatasetCase:
        config = Folder(path=str(folder), size=(16, 24), frames=9, test_share=0.3)
        return DatasetCase(config, Video(data=config))

    def test_files_are_cut_into_clips(self, splits: tuple[Dataset, Dataset]) -> None:
        records = {dataset[i].id: dataset[i] for dataset in splits for i in range(len(dataset))}
        assert sorted(records) == [
            "cats/a_black_cat.mp4#0", "cats/a_black_cat.mp4#1", "cats/other.mkv#0", "dogs/dog.gif#0", "dogs/dog.webp#0",
            "loose.avi#0", "loose.avi#1",
        ]  # fmt: skip
        assert records["cats/a_black_cat.mp4#0"].conditions == {"caption": "a black cat", "label": "cats"}
        assert records["loose.avi#0"].conditions == {"caption": "loose"}
        for record in records.values():
            assert record.sample.shape == (9, 16, 24, 3)
        green = ((records["cats/a_black_cat.mp4#1"].sample[:, 8, 12, 1] + 1) * 127.5).tolist()
        assert all(abs(value - 10 * (9 + i)) < 9 for i, value in enumerate(green)), green

    def test_bad_files_are_named_and_skipped(self, splits: tuple[Dataset, Dataset]) -> None:
        problems = "\n".join(problem for dataset in splits for problem in dataset.problems)
        assert problems.count("\n") == 3
        for line in ("cut.mp4 has no video in it", "empty.mp4 cannot be read as a video", "text.webm cannot be read as a video"):
            assert line in problems
        assert "picture.png is too short: 1 frames at 8 frames a second, expected 9" in problems

    def test_strict_stops_at_the_first(self, case: DatasetCase) -> None:
        strict = case.config.model_copy(update={"strict": True})
        with pytest.raises(ValueError, match=r"cut\.mp4|empty\.mp4|text\.webm|picture\.png"):
            strict.build("train")


def test_short_files_are_held_or_looped(tmp_path: Path) -> None:
    path = _gif(tmp_path / "short.gif", 3)
    form = ClipForm(8, 4, 4, 8)
    green = {how: read_clip(path, form, how)[0][:, 0, 0, 1].tolist() for how in ("hold", "loop")}
    assert green == {"hold": [0, 10, 20, 20, 20, 20, 20, 20], "loop": [0, 10, 20, 0, 10, 20, 0, 10]}
    with pytest.raises(ValueError, match=r"short\.gif is too short: 3 frames at 8 frames a second, expected 8 \(or set `short`\)"):
        read_clip(path, form)


@pytest.mark.parametrize(("milliseconds", "fps", "expected"), [(250, 8, [0, 0, 10, 10, 20, 20]), (40, 12.5, [0, 20, 40, 60, 80, 100])])
def test_frames_are_taken_at_the_clips_rate(tmp_path: Path, milliseconds: int, fps: float, expected: list[int]) -> None:
    """A slower file shows its frames longer, of a faster one some are left out."""
    path = _gif(tmp_path / "rate.gif", 12, milliseconds=milliseconds)
    assert read_clip(path, ClipForm(6, 4, 4, fps))[0][:, 0, 0, 1].tolist() == expected


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".webp"])
def test_no_cut_file_is_read_as_if_it_were_whole(tmp_path: Path, suffix: str, keep: float) -> None:
    """Cut anywhere: it is refused by name, unless nothing but an index was lost and every frame comes as it was."""
    make = _movie if suffix in (".mp4", ".mkv") else _gif
    whole = make(tmp_path / f"whole{suffix}", 24)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(keep * whole.stat().st_size)])
    form = ClipForm(24, 8, 8, 8)
    if keep < 0.9:
        with pytest.raises(
            ValueError, match=rf"cut\{suffix} (cannot be read|is cut off|is too short|is not a moving|has no video|holds no frame)"
        ):
            read_clip(cut, form)
    else:
        with suppress(ValueError):
            assert torch.equal(read_clip(cut, form)[0], read_clip(whole, form)[0])


def test_a_file_that_lacks_frames_it_promises_is_named(tmp_path: Path) -> None:
    """An MP4 whose index is at its front, cut at the end: it opens, and ends too early."""
    path = tmp_path / "front.mp4"
    with av.open(str(_movie(tmp_path / "whole.mp4", 24))) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    with pytest.raises(ValueError, match=r"front\.mp4 (is cut off: \d+ of its 24 frames can be read|cannot be read as a video)"):
        read_clip(path, ClipForm(24, 8, 8, 8))


def test_a_file_without_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 8000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound\.mp4 has no video in it"):
        read_clip(path, ClipForm(2, 8, 8, 8))


def test_folders_that_hold_too_little_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere: video.folder needs `path`"):
        Folder(path=str(tmp_path / "nowhere")).build("train")
    _gif(tmp_path / "one.gif", 9)
    with pytest.raises(ValueError, match="holds 1 different videos, expected 2 or more"):
        Folder(path=str(tmp_path)).build("train")
    (tmp_path / "one.gif").write_bytes(b"bad")
    (tmp_path / "two.gif").write_bytes(b"worse")
    with pytest.raises(
        ValueError, match=r"none of the videos of split 'train' .* can be read \(1 tried\); the first: .*is not a moving picture"
    ):
        Folder(path=str(tmp_path)).build("train")


def test_a_clip_of_one_frame_is_an_image(tmp_path: Path) -> None:
    """Pictures can be a data set of videos: of one frame each."""
    for shade in (0, 100, 200):
        Pillow.new("RGB", (20, 20), (shade, 0, 0)).save(tmp_path / f"{shade}.png")
    dataset = Folder(path=str(tmp_path), frames=1, size=8).build("train")
    assert len(dataset) == 2
    assert dataset[0].sample.shape == (1, 8, 8, 3)
    assert isinstance(dataset[0].sample, torch.Tensor)
