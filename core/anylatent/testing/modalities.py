"""What every modality must hold to."""

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anylatent.modality import Modality
from anylatent.testing.comparing import difference


@dataclass
class ModalityCase:
    """A modality, and samples of it: two or more, all different things."""

    modality: Modality
    samples: Sequence[Any]
    nonsense: bytes = b"this is no sample"
    """The content of a file that `read` must refuse."""


class ModalityContract:
    """Subclass it and give one fixture:

    class TestMine(ModalityContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return ModalityCase(MyModality(data=MyData()), samples=[...])
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        raise NotImplementedError("give the fixture `case`")

    def test_it_says_what_a_sample_is(self, case: ModalityCase) -> None:
        """In one line; and samples with axes are arrays `(*axes, channels)`."""
        modality = case.modality
        assert modality.sample
        assert "\n" not in modality.sample
        assert len({axis.name for axis in modality.axes}) == len(modality.axes)
        if modality.axes:
            assert all(sample.dim() == len(modality.axes) + 1 for sample in case.samples)

    def test_identity_tells_samples_apart(self, case: ModalityCase) -> None:
        """Equal for a copy, different for different samples, and always the same."""
        names = [case.modality.identity(sample) for sample in case.samples]
        assert len(set(names)) == len(case.samples) >= 2
        assert names == [case.modality.identity(copy.deepcopy(sample)) for sample in case.samples]
        assert all(isinstance(name, str) and name for name in names)

    def test_the_sheet_is_a_picture_of_the_samples(self, case: ModalityCase) -> None:
        """A PNG that Pillow opens and that is not blank, of one sample or many, with captions or without; captions are seen."""
        from PIL import Image

        many = [case.samples[i % len(case.samples)] for i in range(50)]
        for samples in (case.samples[:1], case.samples, many):
            drawn = [case.modality.sheet(samples, captions) for captions in ((), [f"caption {i}" for i in range(len(samples))])]
            for png in drawn:
                with Image.open(io.BytesIO(png)) as picture:
                    assert picture.format == "PNG"
                    lowest, highest = picture.convert("L").getextrema()
                assert lowest < highest, "the sheet is blank"  # pyright: ignore[reportOperatorIssue]
            assert drawn[0] != drawn[1], "captions do not show"
        assert case.modality.sheet(case.samples[:1]) != case.modality.sheet(case.samples[1:2]), "the sheet does not show the sample"

    def test_written_is_read(self, case: ModalityCase, tmp_path: Path) -> None:
        """A written sample reads back as the same thing, twice over; `write` leaves samples alone and no part of a file behind."""
        modality = case.modality
        before = copy.deepcopy(list(case.samples))
        for index, sample in enumerate(case.samples):
            folder = tmp_path / str(index)
            written = modality.write([sample], folder)
            assert set(written) == {path for path in folder.rglob("*") if path.is_file()}
            assert all(path.stat().st_size for path in written)
            readable = [path for path in written if path.suffix in modality.suffixes]
            assert bool(readable) == bool(modality.suffixes), f"nothing that was written can be read: {[path.name for path in written]}"
            if readable:
                read = modality.read(readable[0])
                assert modality.identity(read) == modality.identity(sample)
                assert type(read) is type(sample)
        assert not difference(list(case.samples), before), "write changed its samples"

    def test_all_samples_are_written(self, case: ModalityCase, tmp_path: Path) -> None:
        modality = case.modality
        together = modality.write(case.samples, tmp_path / "together")
        assert together
        assert sum(path.stat().st_size for path in together) > sum(
            path.stat().st_size for path in modality.write(case.samples[:1], tmp_path / "alone") if path.suffix in modality.suffixes
        )

    def test_a_file_that_is_no_sample_is_named(self, case: ModalityCase, tmp_path: Path) -> None:
        for suffix in case.modality.suffixes:
            for content in (case.nonsense, b""):
                path = tmp_path / f"nonsense{suffix}"
                path.write_bytes(content)
                with pytest.raises(ValueError, match=r"nonsense\."):
                    case.modality.read(path)
