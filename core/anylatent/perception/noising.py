"""Given rows as a denoiser is shown them: at times, their kept tokens as they are."""

from collections.abc import Mapping

import torch

from anylatent.denoiser import TokenNetwork
from anylatent.spec import StreamSpec
from anylatent.state import State
from anylatent.types import Tensor


def made_streams(network: TokenNetwork) -> list[StreamSpec]:
    """The streams that are not always given."""
    return [spec for spec in network.specs if not spec.given]


def noised(network: TokenNetwork, clean: State, times: Mapping[str, Tensor], purpose: str, draw: int = 0) -> State:
    """Clean rows with the tokens of the streams in `times` `(B, #N)` noised to them, by row seed; as `placed`.

    `purpose` and `draw` name the noise (`State.noise`). Streams that are always given are kept whole.
    """
    x = {}
    for spec in network.specs:
        if spec.name in times:
            stream, path = clean[spec.name], network.path(spec.name)
            x1 = path.prior(spec, clean.noise(spec.name, 0, draw, purpose), stream.mask)
            x[spec.name] = path.corrupt(stream.values, x1, times[spec.name][..., None])
        elif spec.given:
            clean = clean.with_kept(spec.name, clean[spec.name].mask)
    return placed(clean, x, times)


def placed(clean: State, values: Mapping[str, Tensor], times: Mapping[str, Tensor]) -> State:
    """Rows with other tokens `(B, N, C)`, at times `(B, #N)`; kept tokens and padding stay as they are, kept ones at time 0."""
    for name, x in values.items():
        stream = clean[name]
        free = (stream.mask & ~stream.keep)[..., None]
        clean = clean.with_values({name: torch.where(free, x, stream.values)})
        clean = clean.with_time({name: times[name].expand(stream.shape[:2])})
    return clean
