"""Molecules as sequences of pieces of text in a learned latent space."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from anylatent import random
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.tokenizers.base import Tokenizer
from anylatent.tokenizers.sizes import Size
from anylatent.tokenizers.statistics import Statistics
from anylatent.types import Bool, Float, Int, Tensor
from anylatent_molecule import chemistry, pieces, sizes, symbols
from anylatent_molecule.molecule import Molecule, require_molecule
from anylatent_molecule.tokenizers import SequenceConfig

STREAM = "symbols"

LEARNED = 10_000
"""Merges are learned from so many samples at most; single symbols from all."""

REMEMBERED = 1 << 18
"""Texts whose pieces are remembered."""


class SequenceTokenizer(Tokenizer):
    """One latent token `(C,)` a piece: a causal encoder with a Gaussian posterior, and a recurrent decoder.

    The encoder looks only at a piece and those before it, so the tokens of a fragment are those of every molecule that
    begins with its pieces. The decoder reads the whole latent sequence, then says one piece after the other, each
    knowing those already said; it is trained on noisy latents, because those that a denoiser makes are.
    """

    config: SequenceConfig

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        width, channels = config.width, config.channels
        self.facts = {"vocabulary": [], "merges": []}
        self._remembered: dict[str, list[int]] = {}
        self.embed = PieceEmbedding(config.vocabulary, width)
        self.past = CausalBlock(width, kernel=5)
        self.posterior = nn.Linear(width, 2 * channels)
        self.statistics = Statistics(channels)
        self.lift = nn.Linear(channels + 1, width)
        self.around = nn.ModuleList(AroundBlock(width, kernel=5) for _ in range(config.depth))
        # What was said before; the last index: nothing yet.
        self.said = nn.Embedding(config.vocabulary + 1, width)
        self.recurrence = nn.GRU(2 * width, width, batch_first=True)
        self.readout = nn.Linear(2 * width, config.vocabulary)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        axis = AxisSpec(name="i", unit="symbol")
        return (StreamSpec(name=STREAM, width=self.config.channels, axes=(axis,), order="sequence"),)

    @property
    def trainable(self) -> bool:
        return True

    def prepare(self, samples: Sequence[Molecule]) -> None:
        """Learn the vocabulary. Errors: `ValueError` if there is no room for all single symbols."""
        words = [self._symbols(sample, index) for index, sample in enumerate(samples)]
        singles = sorted({symbol for word in words for symbol in word})
        if len(singles) > self.config.vocabulary:
            raise ValueError(
                f"the data have {len(singles)} different symbols, the tokenizer has room for {self.config.vocabulary}: "
                f"raise tokenizer.vocabulary, or narrow data.elements"
            )
        size = self.config.vocabulary if self.config.merge else len(singles)
        vocabulary, merges = pieces.learn([*words[:LEARNED], *((symbol,) for symbol in singles)], size)
        self.restore(self.facts | {"vocabulary": vocabulary, "merges": [list(pair) for pair in merges]})

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        self._remembered.clear()
        self.embed.compose([symbols.parts(piece, self.config.representation) for piece in self.facts["vocabulary"]])

    def fit(self, samples: Sequence[Molecule]) -> None:
        """Latent statistics, and how long molecules are."""
        with torch.no_grad():
            batches = [self._batch(samples[at : at + 256]) for at in range(0, len(samples), 256)]
            valid = torch.cat([self._posterior(ids, mask)[0][mask] for ids, mask in batches])[None]
        self.facts["sizes"] = sizes.measure(samples, [int(n) for _, mask in batches for n in mask.sum(1)])
        self.statistics.measure(valid, torch.ones(valid.shape[:2], dtype=torch.bool, device=valid.device))

    def loss(self, samples: Sequence[Molecule], seeds: Tensor) -> tuple[Float[Tensor, " rows"], Mapping[str, Tensor]]:
        """Nats a piece of saying the molecule from noisy latents, plus the weighted divergence of the posterior, a channel.

        Each row has its own level of noise, up to `noise` and mostly low (else pieces that are alike are never told apart), and
        the decoder knows it.
        """
        ids, mask = self._batch(samples)
        mean, log_variance = self._posterior(ids, mask)
        shape = ids.shape[1], self.config.channels
        latents = mean + (0.5 * log_variance).exp() * random.normal(seeds, "molecule.selfies/posterior", 0, 0, *shape)
        level = self.config.noise * random.uniform(seeds, "molecule.selfies/level", 0, 0, 1).square()[..., None].expand(-1, shape[0], 1)
        latents = latents + level * random.normal(seeds, "molecule.selfies/noise", 0, 0, *shape)
        logits = self._say(latents, level, ids, mask)
        count = mask.sum(1)
        surprise = (F.cross_entropy(logits.transpose(1, 2), ids, reduction="none") * mask).sum(1) / count
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean(-1)
        divergence = (divergence * mask).sum(1) / count
        exact = ((logits.argmax(-1) == ids) | ~mask).all(1).float()
        return surprise + self.config.kl * divergence, {"nats": surprise.mean(), "divergence": divergence.mean(), "exact": exact.mean()}

    def encode(self, samples: Sequence[Molecule], seeds: Tensor | None = None) -> State:
        ids, mask = self._batch(samples)
        return self._encode(ids, mask, seeds)

    def decode(self, state: State) -> list[Molecule]:
        stream = state[STREAM]
        with torch.no_grad():
            latents = self.statistics.restore(stream.values)
            given = self._given(latents, stream.keep & stream.mask)
            ids = self._speak(latents, stream.mask, state.seeds, given)
        vocabulary = self.facts["vocabulary"]
        made = []
        for row, valid, kept in zip(ids.cpu(), stream.mask.cpu(), (given >= 0).sum(1).tolist(), strict=True):
            said = [vocabulary[i] for i in row[valid].tolist()]
            made.append(_molecule("".join(said[:kept]), "".join(said[kept:]), self.config.representation))
        return made

    def layout(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None = None, size: Size = None) -> State:
        """Sizes are drawn given `logp`, `qed`, `weight`, `rings` where a row is asked for them."""
        lengths = sizes.asked(size, len(seeds)) or self._draw(seeds, conditions)
        mask = _mask(lengths, seeds.device)
        return self._state(torch.zeros(*mask.shape, self.config.channels, device=seeds.device), mask, seeds)

    def start(self, fragment: str, seeds: Tensor, atoms: int | None = None) -> State:
        """New rows that begin with a fragment's pieces, kept; the molecule goes on from the last atom that is written.

        `fragment` is SMILES, read in the order in which it is written. `atoms`: how many pieces to add (None: drawn).
        Errors: `ValueError` if the fragment has symbols that no training sample has.
        """
        chemistry.parse(fragment)
        ids = torch.tensor([self._ids(fragment, "the fragment")], device=seeds.device)
        kept = ids.shape[1]
        lengths = [kept + atoms] * len(seeds) if atoms else self._draw(seeds, None, least=kept + 1)
        mask = _mask(lengths, seeds.device)
        begun = self._encode(ids, torch.ones_like(ids, dtype=torch.bool), None)[STREAM].values
        values = F.pad(begun, (0, 0, 0, mask.shape[1] - kept)).expand(len(seeds), -1, -1).clone()
        keep = (torch.arange(mask.shape[1], device=seeds.device) < kept).expand(mask.shape).clone()
        return self._state(values, mask, seeds).with_kept(STREAM, keep)

    def count(self, sample: Molecule) -> int:
        return len(self._ids(sample.smiles, "the sample"))

    def _draw(self, seeds: Tensor, conditions: Sequence[Mapping[str, Any]] | None, least: int = 1) -> list[int]:
        if "sizes" not in self.facts:
            raise ValueError("this tokenizer was not fitted: it does not know how long molecules are; call fit, or give a size")
        return sizes.draw(self.facts["sizes"], random.uniform(seeds, "molecule.selfies/size", 0, 0, 1)[:, 0].tolist(), conditions, least)

    def _encode(self, ids: Int[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"], seeds: Tensor | None) -> State:
        with torch.no_grad():
            values, log_variance = self._posterior(ids, mask)
        if seeds is not None:
            draw = random.normal(seeds.to(values.device), "molecule.selfies/posterior", 0, 0, *values.shape[1:])
            values = values + (0.5 * log_variance).exp() * draw
        return self._state(self.statistics.normalise(values) * mask[..., None], mask, seeds)

    def _state(self, values: Float[Tensor, "rows tokens channels"], mask: Bool[Tensor, "rows tokens"], seeds: Tensor | None) -> State:
        positions = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32) * mask
        return State.of({STREAM: Stream.of(values, positions[..., None], mask)}, seeds=seeds)

    def _symbols(self, sample: Molecule, index: int) -> tuple[str, ...]:
        require_molecule(sample, index)
        try:
            return symbols.split(sample.smiles, self.config.representation)
        except ValueError as error:
            raise ValueError(f"sample {index}: {error}; data.max_symbols leaves such out, representation: smiles takes them") from error

    def _ids(self, smiles: str, what: str) -> list[int]:
        """The numbers of a text's pieces. Errors: `ValueError` names the symbol that is not in the vocabulary."""
        if smiles not in self._remembered:
            index = {piece: i for i, piece in enumerate(self.facts["vocabulary"])}
            ranks = {(a, b): rank for rank, (a, b) in enumerate(self.facts["merges"])}
            said = symbols.split(smiles, self.config.representation)
            unknown = [symbol for symbol in said if symbol not in index]
            if unknown:
                raise ValueError(f"{what} ({chemistry.shortened(smiles)}) has the symbol {unknown[0]}, which no training sample has")
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[smiles] = [index[piece] for piece in pieces.split(said, ranks)]
        return self._remembered[smiles]

    def _batch(self, samples: Sequence[Molecule]) -> tuple[Int[Tensor, "rows tokens"], Bool[Tensor, "rows tokens"]]:
        """Numbers of pieces, padded with 0, and the mask."""
        for index, sample in enumerate(samples):
            require_molecule(sample, index)
            if sample.smiles not in self._remembered:
                self._symbols(sample, index)
        device = self.readout.weight.device
        rows = [torch.tensor(self._ids(sample.smiles, f"sample {index}")) for index, sample in enumerate(samples)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), _mask(map(len, rows), device)

    def _posterior(
        self, ids: Int[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"]
    ) -> tuple[Float[Tensor, "rows tokens channels"], Float[Tensor, "rows tokens channels"]]:
        """Mean and log variance of each token."""
        mean, log_variance = self.posterior(self.past(self.embed(ids) * mask[..., None])).float().chunk(2, -1)
        # Bounded: else the encoder outshouts the noise instead of telling tokens apart.
        return mean.tanh(), log_variance.clamp(-8, 2)

    def _read(
        self, latents: Float[Tensor, "rows tokens channels"], level: Float[Tensor, "rows tokens 1"], mask: Bool[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows tokens width"]:
        """What the decoder sees of the latents at each place, both ways, told how noisy they are."""
        x = self.lift(torch.cat((latents, level), -1)) * mask[..., None]
        for block in self.around:
            x = block(x, mask)
        return x

    def _say(
        self,
        latents: Float[Tensor, "rows tokens channels"],
        level: Float[Tensor, "rows tokens 1"],
        ids: Int[Tensor, "rows tokens"],
        mask: Bool[Tensor, "rows tokens"],
    ) -> Float[Tensor, "rows tokens pieces"]:
        """The logits of each piece, given all latents and the true pieces before it."""
        read = self._read(latents, level, mask)
        before = F.pad(ids[:, :-1], (1, 0), value=self.config.vocabulary)
        spoken, _ = self.recurrence(torch.cat((read, self.said(before)), -1))
        return self._logits(torch.cat((spoken, read), -1))

    def _logits(self, x: Tensor) -> Tensor:
        unused = torch.arange(self.config.vocabulary, device=x.device) >= len(self.facts["vocabulary"])
        return self.readout(x).float().masked_fill(unused, -torch.inf)

    def _given(self, latents: Float[Tensor, "rows tokens channels"], keep: Bool[Tensor, "rows tokens"]) -> Int[Tensor, "rows tokens"]:
        """The pieces of a kept beginning, -1 elsewhere: the one, piece after piece, whose token is the kept one.

        The encoder looks back only and has no noise here, so this is exact; the decoder, made to doubt, would not be.
        """
        given = torch.full(keep.shape, -1, device=keep.device)
        beginning = keep.long().cumprod(1).bool()
        pieces = torch.arange(len(self.facts["vocabulary"]), device=keep.device)
        for i in range(int(beginning.sum(1).max())):
            rows = beginning[:, i].nonzero()[:, 0]
            before = given[rows, :i].repeat_interleave(len(pieces), 0)
            tried = torch.cat((before, pieces.repeat(len(rows))[:, None]), 1)
            tokens, _ = self._posterior(tried, torch.ones_like(tried, dtype=torch.bool))
            away = (tokens[:, -1].unflatten(0, (len(rows), -1)) - latents[rows, i][:, None]).square().sum(-1)
            given[rows, i] = away.argmin(1)
        return given

    def _speak(
        self,
        latents: Float[Tensor, "rows tokens channels"],
        mask: Bool[Tensor, "rows tokens"],
        seeds: Int[Tensor, " rows"],
        given: Int[Tensor, "rows tokens"],
    ) -> Int[Tensor, "rows tokens"]:
        """Piece after piece, given all latents and what was said; `given` pieces (not -1) are said as they are."""
        read = self._read(latents, torch.full_like(latents[..., :1], self.config.doubt), mask)
        last = torch.full((len(read), 1), self.config.vocabulary, device=read.device)
        memory: Tensor | None = None
        said = []
        for i in range(read.shape[1]):
            spoken, memory = self.recurrence(torch.cat((read[:, i : i + 1], self.said(last)), -1), memory)
            chosen = self._choose(self._logits(torch.cat((spoken[:, 0], read[:, i]), -1)), seeds, i)
            last = torch.where(given[:, i] < 0, chosen, given[:, i])[:, None]
            said.append(last)
        return torch.cat(said, 1)

    def _choose(self, logits: Float[Tensor, "rows pieces"], seeds: Int[Tensor, " rows"], i: int) -> Int[Tensor, " rows"]:
        """The likeliest piece, or one drawn at the temperature (by Gumbel noise of the row's seed)."""
        if self.config.temperature == 0:
            return logits.argmax(-1)
        gumbel = -(-random.uniform(seeds, "molecule.selfies/decoder", i, 0, logits.shape[1]).log()).log()
        return (logits / self.config.temperature + gumbel).argmax(-1)


class PieceEmbedding(nn.Module):
    """Vectors of pieces, made of the symbols in them: their mean, the first and the last, and something of the piece's own.

    So pieces that are alike in composition, or fit the same neighbours, are near each other from the start, and a denoiser
    has less to learn than of arbitrary codes.
    """

    parts: Tensor

    def __init__(self, pieces: int, width: int) -> None:
        super().__init__()
        self.register_buffer("parts", torch.zeros(pieces, 3 * pieces), persistent=False)
        self.made = nn.Linear(3 * pieces, width, bias=False)
        nn.init.normal_(self.made.weight)
        self.own = nn.Embedding(pieces, width)
        nn.init.normal_(self.own.weight, std=0.5)

    def compose(self, texts: Sequence[Sequence[str]]) -> None:
        """`texts`: the symbols of each piece."""
        singles = {symbol: i for i, symbol in enumerate(sorted({symbol for text in texts for symbol in text}))}
        size = self.own.num_embeddings
        self.parts.zero_()
        for row, text in zip(self.parts, texts, strict=False):
            for symbol in text:
                row[singles[symbol]] += 1 / len(text) ** 0.5
            row[size + singles[text[0]]] = row[2 * size + singles[text[-1]]] = 1

    def forward(self, ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens width"]:
        return (self.made(self.parts) + self.own.weight)[ids]


class CausalBlock(nn.Module):
    """A residual convolution `(B, N, W)` that looks back only."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.back = kernel - 1
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "rows tokens width"]) -> Float[Tensor, "rows tokens width"]:
        h = F.pad(self.norm(x).transpose(1, 2), (self.back, 0))
        return x + self.out(F.gelu(self.convolution(h).transpose(1, 2)))


class AroundBlock(nn.Module):
    """A residual convolution `(B, N, W)` that looks both ways; masked tokens are zero to it."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "rows tokens width"], mask: Bool[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens width"]:
        h = (self.norm(x) * mask[..., None]).transpose(1, 2)
        return x + self.out(F.gelu(self.convolution(h).transpose(1, 2)))


def _mask(lengths: Iterable[int], device: torch.device) -> Bool[Tensor, "rows tokens"]:
    sizes = torch.tensor(list(lengths), device=device)
    return torch.arange(int(sizes.max()), device=device) < sizes[:, None]


def _molecule(kept: str, said: str, representation: symbols.Representation) -> Molecule:
    """What a text says, whose beginning was kept; not valid if that is no molecule.

    In SELFIES, a ring that is closed onto the kept beginning may raise the order of its bonds (a benzene becomes a cumulene). If
    the beginning's structure is gone, the rest is read without its rings: then it only hangs from the last kept atom.
    """
    molecule = _read(kept + said, representation)
    if kept and representation == "selfies" and molecule.valid and not chemistry.holds(molecule.mol(), _read(kept, representation).mol()):
        return _read(kept + "".join(symbol for symbol in symbols.parts(said, representation) if "Ring" not in symbol), representation)
    return molecule


def _read(text: str, representation: symbols.Representation) -> Molecule:
    """What the text says; not valid if that is no molecule.

    SELFIES writes a charged atom with the hydrogens it had in training: with fewer neighbours it would be a radical, which
    the decoder does not mean. Such places are filled with hydrogens.
    """
    try:
        smiles = chemistry.canonical(chemistry.closed_shell(chemistry.parse(symbols.smiles_of(text, representation))))
    except ValueError:
        smiles = ""
    return Molecule(smiles, written="" if smiles else text)
