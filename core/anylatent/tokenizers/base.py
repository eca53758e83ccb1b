"""The contract of a tokenizer: samples of a modality to a state of latent tokens, and back."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State
from anylatent.tokenizers.config import TokenizerConfig
from anylatent.tokenizers.sizes import Size
from anylatent.types import Float, Tensor


class Tokenizer(nn.Module, ABC):
    """Owns everything between a sample and its tokens: layout, vocabulary, latent statistics, learned weights.

    What must survive saving is in parameters and buffers (tensors) and in `facts` (JSON). The tokens of its training
    samples have zero mean and unit variance a channel, or the tokenizer says why not.
    """

    revision: ClassVar[int] = 1
    """Raised by whoever changes what tokens its code makes of a sample: latents that were cached before are then not used."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.facts: dict[str, Any] = {}

    @property
    @abstractmethod
    def specs(self) -> tuple[StreamSpec, ...]:
        """The streams it makes. Known as soon as it is built."""

    def fit(self, samples: Sequence[Any]) -> None:
        """Measure what training samples tell without gradients (vocabulary, sizes, latent statistics)."""

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Become what `prepare` and `fit` made of the training samples, from saved facts, before weights are loaded."""
        self.facts = dict(facts)

    @property
    def trainable(self) -> bool:
        """Whether `loss` is to be minimised before `fit` and `encode`."""
        return False

    def prepare(self, samples: Sequence[Any]) -> None:
        """Before training: what the network needs to know of the data (a vocabulary, input statistics)."""

    def loss(self, samples: Sequence[Any], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """For trainable ones: a loss a row, and numbers to log. `seeds` `(B,)` are all the randomness there is."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")

    @abstractmethod
    def encode(self, samples: Sequence[Any], seeds: Tensor | None = None) -> State:
        """Clean tokens, one row a sample, padded and masked. A stochastic encoder draws from `seeds` `(B,)`; None: its mean.

        Errors: `ValueError` names the sample's index and what was expected.
        """

    @abstractmethod
    def decode(self, state: State) -> list[Any]:
        """One sample a row. A stochastic decoder draws from the state's row seeds."""

    @property
    def size_axes(self) -> tuple[AxisSpec, ...]:
        """What the numbers of a `size` count: along which axes, and as `step` how much of the axis's unit one of them is.

        () for a number of elements. A sample may have axes that no size can be asked of: none of those is here.
        """
        return ()

    @property
    def local_axes(self) -> tuple[AxisSpec, ...]:
        """Those of `size_axes` along which the first tokens decode to the sample's beginning, whatever follows (to rounding)."""
        return ()

    def beginning(self, settled: State, whole: State) -> State | None:
        """Of one row's tokens those that decode to the sample's beginning: all up to some place along an axis of `local_axes`.

        `settled`: the row with some of its tokens; `whole`: with all. The first axis counts that has any; streams without it must be
        there whole. None: there is no beginning.
        """
        missing = {name: stream.mask & ~settled[name].padded(stream.shape[1]).mask for name, stream in whole.streams.items()}
        for axis in self.local_axes:
            found = {spec.name: [(own.name, own.unit) for own in spec.axes] for spec in self.specs}
            along = {name: own.index((axis.name, axis.unit)) for name, own in found.items() if (axis.name, axis.unit) in own}
            places = {name: whole[name].positions[..., index] for name, index in along.items()}
            if any(bool(each.any()) for name, each in missing.items() if name not in places):
                continue
            end = min(float(place.masked_fill(~missing[name], torch.inf).min()) for name, place in places.items())
            masks = {name: stream.mask & (places[name] < end if name in places else True) for name, stream in whole.streams.items()}
            if all(bool(masks[name].any()) for name in places):
                streams = {name: settled[name].padded(mask.shape[1]).map(lambda x, m=mask[0]: x[:, m]) for name, mask in masks.items()}
                return State.of(streams, settled.seeds, settled.rows)
        return None

    @abstractmethod
    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """An empty state to generate into: positions and mask of new rows, values zero.

        Ragged modalities draw sizes from what `fit` saw, by row seed, unless `size` asks for them: a number an axis of
        `size_axes`, or one for the first. Errors: `ValueError` for a size that its samples cannot have.
        """

    def count(self, sample: Any) -> int:
        """The number of tokens that a sample becomes, over all streams."""
        return sum(int(stream.mask.sum()) for stream in self.encode([sample]).streams.values())

    def fingerprint(self) -> str:
        """Equal if and only if the tokens of every sample are: configuration, facts, weights and the code's revision, hashed."""
        digest = hashlib.sha256(self.config.key().encode())
        if self.revision != 1:
            digest.update(f"revision {self.revision}".encode())
        digest.update(json.dumps(self.facts, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
