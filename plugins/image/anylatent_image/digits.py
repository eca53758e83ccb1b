"""Handwritten digits, 8 x 8."""

from typing import TYPE_CHECKING, ClassVar

from anylatent.data import Split
from anylatent.lazy import torch
from anylatent_image.image_data import ImageData
from anylatent_image.pixels import Frame

if TYPE_CHECKING:
    from anylatent_image.images import Images

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits(ImageData, kind="image.digits"):
    """The 1,797 digits that scikit-learn ships: 8 x 8 grey images with a label 0 … 9.

    Of each class every fifth image is held out for `test`. Source: Alpaydin and Kaynak 1998, UCI "Optical recognition
    of handwritten digits".
    """

    summary: ClassVar[str] = "1,797 handwritten digits, 8 x 8 grey, label 0-9 (1,442 train, 355 test); inside scikit-learn, CC BY 4.0"

    @property
    def frame(self) -> Frame:
        return Frame(8, 8, 1, fit="pad", background=(0, 0, 0))

    def build(self, split: Split) -> "Images":
        """Open a split: conditions `label` (int) and `caption` ("a handwritten three"), ids `digit-0017`."""
        from sklearn.datasets import load_digits

        from anylatent_image.images import Images

        images, labels = load_digits(return_X_y=True)
        chosen = [index for index, held_out in enumerate(_held_out(labels.tolist())) if held_out == (split == "test")]
        # 17 grey levels, 0 … 16.
        pixels = torch.from_numpy((images[chosen] * (255 / 16)).round().astype("uint8")).reshape(-1, 8, 8, 1)
        conditions = [{"label": int(labels[i]), "caption": f"a handwritten {_NAMES[labels[i]]}"} for i in chosen]
        return Images(pixels, conditions, [f"digit-{i:04d}" for i in chosen])


def _held_out(labels: list[int]) -> list[bool]:
    """Every fifth image of each class."""
    seen: dict[int, int] = {}
    held_out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        held_out.append(seen[label] % 5 == 0)
    return held_out
