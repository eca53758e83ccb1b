"""Array annotations: `Float[Tensor, "rows tokens width"]`.

The shapes are checked by jaxtyping and beartype under pytest only. Outside of it the annotations are bare names:
importing this module costs a user neither jaxtyping nor torch.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor
else:

    class _Unchecked:
        def __class_getitem__(cls, item: Any) -> Any:
            return item[0]

    Bool = Float = Int = Shaped = _Unchecked
    Tensor = Any

__all__ = ["Bool", "Float", "Int", "Shaped", "Tensor"]
