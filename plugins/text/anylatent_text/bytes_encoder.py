"""A trained encoder of texts as bytes: convolutions within words, attention between them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from anylatent.condition import TokenSet
from anylatent.conditioners.base import Conditioner
from anylatent.nn.layers import Linear
from anylatent.nn.transformer import Transformer
from anylatent.types import Bool, Float, Int, Tensor
from anylatent_text.configs import Bytes
from anylatent_text.texts import checked

_BEGIN, _ENDED = 256, 257
"""The symbols after the 256 bytes: before every text (an empty one is then not nothing), and padding."""
_LONGEST_WORD = 16
"""Bytes in a token: scripts without spaces are cut into pieces of this length."""


class BytesConditioner(Conditioner):
    """Words from convolutions over their bytes (as Kim et al. 2015, 1508.06615), in context by a transformer; a learned null.

    A word's bytes are averaged after the convolutions, so that a sentence is as many tokens as it has words.
    """

    config: Bytes

    def __init__(self, config: Bytes, width: int, values: Sequence[Any]) -> None:
        """Errors: `ValueError` if a training value is no text, or is longer than `config.length`."""
        super().__init__(config)
        self.config = config
        for value in values:
            self._symbols(value)
        inner = config.width
        self.table = nn.Embedding(_ENDED, inner)
        self.near = nn.ModuleList(nn.Conv1d(inner, inner, 5, padding=2) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(inner) for _ in range(2))
        self.body = Transformer(inner, config.heads, config.depth)
        self.norm = nn.LayerNorm(inner)
        self.out = Linear(inner, width, "embed")
        self.null = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, raw: Sequence[Any | None]) -> Tensor | TokenSet:
        texts = [None if value is None else checked(value) for value in raw]
        # A batch has few captions: each is read once.
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        which = torch.tensor([place[text] for text in texts], device=self.null.device)
        read = self._read([self._symbols(text) for text in place], [text is None for text in place])
        return read.select(which) if isinstance(read, TokenSet) else read[which]

    def _read(self, symbols: Sequence[Sequence[int]], nothing: Sequence[bool]) -> Tensor | TokenSet:
        ids, word = _padded(symbols, self.null.device)
        words = self._words(self._bytes(ids), word)
        mask = torch.arange(words.shape[1], device=ids.device)[None] <= word.amax(1, keepdim=True)
        places = torch.arange(words.shape[1], device=ids.device, dtype=torch.float32).expand(len(ids), -1)[..., None]
        x = self.norm(self.body(words, places, mask))
        null = torch.tensor(nothing, device=ids.device)
        if self.config.slot == "global":
            mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return torch.where(null[:, None], self.null, self.out(mean))
        return TokenSet(torch.where(null[:, None, None], self.null, self.out(x)), mask)

    def _symbols(self, value: Any | None) -> tuple[int, ...]:
        """The bytes of a text, after `_BEGIN`, which stands alone for None. Errors: `ValueError` if it is no text, or too long."""
        text = "" if value is None else checked(value)
        symbols = text.encode("utf-8", "surrogatepass")
        if len(symbols) > self.config.length:
            raise ValueError(
                f"the text {text[:40]!r}… has {len(symbols)} bytes in UTF-8, at most {self.config.length} are read: "
                "shorten it, or raise `length` of text.bytes"
            )
        return (_BEGIN, *symbols)

    def _bytes(self, ids: Int[Tensor, "rows bytes"]) -> Float[Tensor, "rows bytes inner"]:
        """Each byte with its neighbours; padding is zero before each convolution, as what is beyond a text's end is."""
        there = (ids != _ENDED)[..., None]
        x = self.table(ids.clamp(max=_BEGIN)) * there
        for convolution, norm in zip(self.near, self.norms, strict=True):
            near = convolution((norm(x) * there).transpose(1, 2)).transpose(1, 2)
            x = (x + nn.functional.gelu(near)) * there
        return x

    def _words(self, x: Float[Tensor, "rows bytes inner"], word: Int[Tensor, "rows bytes"]) -> Float[Tensor, "rows words inner"]:
        """The mean of each word's bytes; padding (-1) belongs to none."""
        belongs: Bool[Tensor, "rows words bytes"] = word[:, None] == torch.arange(int(word.max()) + 1, device=word.device)[None, :, None]
        share = belongs.to(x.dtype) / belongs.sum(2, keepdim=True).clamp(min=1)
        return share @ x


def _padded(symbols: Sequence[Sequence[int]], device: torch.device) -> tuple[Int[Tensor, "rows bytes"], Int[Tensor, "rows bytes"]]:
    """Symbols and the number of each one's word, padded by `_ENDED` and -1."""
    rows = [(torch.tensor(row), torch.tensor(_words_of(row))) for row in symbols]
    ids = nn.utils.rnn.pad_sequence([row for row, _ in rows], batch_first=True, padding_value=_ENDED)
    word = nn.utils.rnn.pad_sequence([number for _, number in rows], batch_first=True, padding_value=-1)
    return ids.to(device), word.to(device)


def _words_of(symbols: Sequence[int]) -> list[int]:
    """The number of the word that each symbol belongs to: a new one begins at a space, and after `_LONGEST_WORD` symbols."""
    numbers, number, length = [], 0, 0
    for symbol in symbols:
        if (symbol == ord(" ") and length > 0) or length == _LONGEST_WORD:
            number, length = number + 1, 0
        numbers.append(number)
        length += 1
    return numbers
