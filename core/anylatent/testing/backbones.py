"""What every backbone must hold to."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from anylatent.conditioners.base import Conditions
from anylatent.conditioners.standard import ClassConfig, SequenceConfig
from anylatent.denoiser import Corruption, Denoiser
from anylatent.denoiser_config import BackboneConfig
from anylatent.nn.sites import Call, Context, Heads, Mix, Site, Sites
from anylatent.paths.rectified import Rectified
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.types import Float, Tensor

_X, _T = AxisSpec(name="x", unit="px"), AxisSpec(name="t", unit="s", step=0.1)


def two_stream_specs() -> tuple[StreamSpec, ...]:
    """Two streams with as little in common as possible: widths, numbers of axes, order."""
    return (
        StreamSpec(name="field", width=5, axes=(_T, _X), order="grid"),
        StreamSpec(name="cloud", width=2, axes=(), order="set", prior="normal_centred", centred=(0, 1)),
    )


def shaken(module: torch.nn.Module, seed: int = 0, size: float = 0.2) -> torch.nn.Module:
    """The same module with every weight moved a little: zero-initialised parts then do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return module


def random_state(specs: tuple[StreamSpec, ...], sizes: list[int], seed: int = 0) -> State:
    """Rows with `sizes` valid tokens in every stream, at random times, values and places."""
    generator = torch.Generator().manual_seed(seed)
    rows, tokens = len(sizes), max(sizes)
    mask = torch.arange(tokens)[None] < torch.tensor(sizes)[:, None]
    streams = {}
    for spec in specs:
        values = torch.randn(rows, tokens, spec.width, generator=generator) * mask[..., None]
        positions = torch.rand(rows, tokens, len(spec.axes), generator=generator) * 4 * mask[..., None]
        time = (0.1 + 0.8 * torch.rand(rows, 1, generator=generator)).expand(rows, tokens)
        streams[spec.name] = replace(Stream.of(values, positions, mask), time=time)
    return State.of(streams, range(rows))


@dataclass
class BackboneCase:
    """A backbone's description, and the streams to build it for."""

    config: BackboneConfig
    specs: tuple[StreamSpec, ...]


class BackboneContract:
    """Subclass it and give one fixture:

    class TestMine(BackboneContract):
        @pytest.fixture(scope="class")
        @classmethod
        def case(cls):
            return BackboneCase(MyConfig(width=32), specs=two_stream_specs())
    """

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackboneCase:
        raise NotImplementedError("give the fixture `case`")

    @pytest.fixture(scope="class")
    @classmethod
    def denoiser(cls, case: BackboneCase) -> Denoiser:
        width = case.config.model_width
        torch.manual_seed(0)
        named = {
            "label": ClassConfig().build(width, [0, 1, 2]),
            "text": SequenceConfig(slot="cross").build(width, []),
            "prefix": SequenceConfig(slot="prepend").build(width, []),
        }
        corruptions = {spec.name: Corruption(Rectified(), "velocity") for spec in case.specs}
        denoiser = Denoiser(case.config.build(case.specs, cross=True), Conditions(width, named), corruptions)
        shaken(denoiser)
        return denoiser.eval().requires_grad_(False)

    def _asked(self, rows: int) -> list[dict]:
        return [{"label": i % 3, "text": "words"[: 1 + i], "prefix": "ab"[: 1 + i % 2]} for i in range(rows)]

    def _predict(self, denoiser: Denoiser, state: State, rows: list[int] | None = None) -> dict[str, Tensor]:
        chosen = list(range(len(state))) if rows is None else rows
        asked = self._asked(max(chosen) + 1)
        return denoiser(state, denoiser.conditions([asked[i] for i in chosen]))

    def test_rows_are_alone_together(self, case: BackboneCase, denoiser: Denoiser) -> None:
        state = random_state(case.specs, [6, 3, 5])
        together = self._predict(denoiser, state)
        for row in range(3):
            alone = self._predict(denoiser, state.select([row]).trimmed(), [row])
            for name, values in alone.items():
                torch.testing.assert_close(values[0], together[name][row, : values.shape[1]], atol=2e-5, rtol=1e-4)

    def test_padding_changes_nothing(self, case: BackboneCase, denoiser: Denoiser) -> None:
        """Neither more padding, nor what lies in it."""
        state = random_state(case.specs, [4, 4])
        padded = state.map(
            lambda stream: replace(stream.padded(9), values=torch.where(stream.padded(9).mask[..., None], stream.padded(9).values, 7.0))
        )
        plain, with_padding = self._predict(denoiser, state), self._predict(denoiser, padded)
        for name, values in plain.items():
            torch.testing.assert_close(values, with_padding[name][:, :4], atol=2e-5, rtol=1e-4)
            assert not with_padding[name][:, 4:].any(), "padding is predicted as 0"

    def test_order_is_only_in_positions(self, case: BackboneCase, denoiser: Denoiser) -> None:
        """Permuted tokens (with their positions) give permuted predictions."""
        state = random_state(case.specs, [6, 6])
        order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
        permuted = state.map(lambda stream: stream.map(lambda x: x[:, order]))
        plain, other = self._predict(denoiser, state), self._predict(denoiser, permuted)
        for name, values in plain.items():
            torch.testing.assert_close(values[:, order], other[name], atol=2e-5, rtol=1e-4)

    def test_positions_times_conditions_and_streams_matter(self, case: BackboneCase, denoiser: Denoiser) -> None:
        state = random_state(case.specs, [6, 6])
        base = denoiser.predict(state, denoiser.conditions(self._asked(2)))
        later = state.with_time({spec.name: state[spec.name].time * 0.5 for spec in case.specs})
        others = {
            "time": denoiser.predict(later, denoiser.conditions(self._asked(2))),
            "condition": denoiser.predict(state, denoiser.conditions([row | {"label": 2} for row in self._asked(2)])),
            "cross tokens": denoiser.predict(state, denoiser.conditions([row | {"text": "other"} for row in self._asked(2)])),
            "prepended tokens": denoiser.predict(state, denoiser.conditions([row | {"prefix": "zz"} for row in self._asked(2)])),
        }
        placed = [spec.name for spec in case.specs if spec.axes]
        for name in placed:
            moved = replace(state[name], positions=state[name].positions * torch.linspace(1, 2, 6)[None, :, None])
            others["positions"] = denoiser.predict(
                replace(state, streams=dict(state.streams) | {name: moved}), denoiser.conditions(self._asked(2))
            )
        for what, prediction in others.items():
            for name, values in base.items():
                assert (prediction[name] - values).abs().max() > 1e-4, f"{what} does not reach stream '{name}'"

    def test_kept_tokens_are_seen_clean_and_returned(self, case: BackboneCase, denoiser: Denoiser) -> None:
        """A kept token is at time 0 whatever its row's time, comes back as given, and what it holds reaches the others."""
        name = case.specs[0].name
        state = random_state(case.specs, [6, 6])
        keep = torch.zeros(2, 6, dtype=torch.bool)
        keep[0, :2] = True
        kept = state.with_kept(name, keep)
        kept = kept.with_time({name: kept[name].time})
        out = self._predict(denoiser, kept)
        assert torch.equal(out[name][keep], kept[name].values[keep])
        other = kept.with_values({name: torch.where(keep[..., None], kept[name].values + 1, kept[name].values)})
        changed = self._predict(denoiser, other)
        assert (changed[name][0, 2:] - out[name][0, 2:]).abs().max() > 1e-5
        torch.testing.assert_close(changed[name][1], out[name][1], atol=2e-5, rtol=1e-4)

    def test_predictions_are_read_off_its_tokens(self, case: BackboneCase, denoiser: Denoiser) -> None:
        """Tokens of all streams in the order of the specs, without prepended ones; who takes them alone needs no readout."""
        state = random_state(case.specs, [6, 3, 5])
        condition = denoiser.conditions(self._asked(3))
        shown, backbone = denoiser.shown(state, condition), denoiser.backbone
        tokens = backbone.tokens(*shown, condition)
        assert tokens.shape == (3, 6 * len(case.specs), backbone.width)
        for index, (name, values) in enumerate(denoiser.predict(state, condition).items()):
            assert torch.equal(backbone.readout[name](tokens[:, 6 * index : 6 * index + 6]), values)
        bare = copy.deepcopy(backbone)
        bare.readout = torch.nn.ModuleDict()
        assert torch.equal(bare.tokens(*shown, condition), tokens)

    def test_modulations_made_once_are_those_made_each_time(self, case: BackboneCase, denoiser: Denoiser) -> None:
        from anylatent.denoiser import ModulationCache

        state = random_state(case.specs, [6, 3])
        cache = ModulationCache(denoiser.backbone)
        condition = cache.enter(denoiser.conditions(self._asked(2)))
        direct, cached = denoiser(state, condition), denoiser(state, condition, None, cache)
        computed = cache.computed
        again = denoiser(state, condition, None, cache)
        assert computed > 0
        assert cache.computed == computed
        for name, values in direct.items():
            torch.testing.assert_close(cached[name], values, atol=2e-5, rtol=1e-4)
            assert torch.equal(again[name], cached[name])

    def test_named_sites_are_run_and_harmless(self, case: BackboneCase, denoiser: Denoiser) -> None:
        """Every part in `sites` is met; running rows apart at any of them changes nothing."""
        met: set[str] = set()
        blocks: set[int] = set()

        class Apart(Sites):
            def around(self, site: Site, call: Call, x: Float[Tensor, "rows tokens width"], context: Context) -> Tensor:
                met.add(site.part)
                blocks.update({site.block} if site.part != "trunk" else set())
                rows = [torch.arange(len(x)) == i for i in range(len(x))]
                return torch.cat([call(x[row], context.select(row)) for row in rows])

            def attend(self, site: Site, mix: Mix, heads: Heads, context: Context) -> Tensor:
                met.add(site.part)
                blocks.add(site.block)
                rows = [torch.arange(len(heads.q)) == i for i in range(len(heads.q))]
                return torch.cat([mix(Heads(*(part[row] for part in heads)), context.select(row)) for row in rows])

        state = random_state(case.specs, [6, 3, 5])
        condition = denoiser.conditions(self._asked(3))
        plain, apart = denoiser(state, condition), denoiser(state, condition, Apart())
        assert met == denoiser.backbone.sites
        assert blocks == set(range(denoiser.backbone.depth)), "`depth` says how many blocks sites tell apart"
        for name, values in plain.items():
            torch.testing.assert_close(apart[name], values, atol=2e-5, rtol=1e-4)
