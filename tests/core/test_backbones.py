from dataclasses import replace

import pytest
import torch

from anylatent.condition import Condition
from anylatent.denoiser_config import DiTConfig
from anylatent.nn import kernels
from anylatent.nn.backbone import Backbone
from anylatent.spec import AxisSpec, StreamSpec
from anylatent.state import State, Stream
from anylatent.testing.backbones import BackboneCase, BackboneContract, two_stream_specs


class TestDiT(BackboneContract):
    @pytest.fixture(
        scope="class",
        params=[
            (StreamSpec(name="tokens", width=3, axes=tuple(AxisSpec(name=name, unit="1") for name in "zyx"), order="grid"),),
            two_stream_specs(),
        ],
        ids=["three axes", "two streams"],
    )
    @classmethod
    def case(cls, request: pytest.FixtureRequest) -> BackboneCase:
        return BackboneCase(DiTConfig(depth=2, width=32, heads=2, absolute=True), request.param)


def test_rotary_attention_sees_only_differences_of_coordinates() -> None:
    from anylatent.nn.layers import rotary, turn

    q, k = torch.randn(2, 1, 1, 5, 12, generator=torch.Generator().manual_seed(0))
    positions = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(1)) * 9

    def scores(shift: float) -> torch.Tensor:
        angles = rotary(positions + shift, 12)
        return turn(q, angles) @ turn(k, angles).transpose(-1, -2)

    torch.testing.assert_close(scores(0.0), scores(3.7), atol=1e-4, rtol=1e-4)
    assert rotary(positions[..., :0], 12) is None


def test_absolute_places_are_known_only_where_asked() -> None:
    """Shifted coordinates are another input to a network that knows places, the same to one that does not, and to a new one."""
    spec = StreamSpec(name="a", width=3, axes=(AxisSpec(name="t", unit="s", step=0.5),))
    state = State.of({"a": Stream.of(torch.randn(1, 6, 3), 0.5 * torch.arange(6.0)[None, :, None])})
    later = replace(state, streams={"a": replace(state["a"], positions=state["a"].positions + 2.0)})

    def said(network: Backbone, at: State) -> torch.Tensor:
        condition = Condition(torch.zeros(1, 32))
        with torch.no_grad():
            return network({"a": at["a"].values}, at, network.modulate(torch.zeros(1, 1), condition.vector), None, condition)["a"]

    for absolute in (False, True):
        torch.manual_seed(0)
        network = DiTConfig(depth=2, width=32, heads=2, absolute=absolute).build((spec,), cross=False)
        torch.manual_seed(0)
        plain = DiTConfig(depth=2, width=32, heads=2).build((spec,), cross=False)
        plain_weights = {name for name, _ in plain.named_parameters()}
        with torch.no_grad():
            for each in (network, plain):
                generator = torch.Generator().manual_seed(1)
                for name, weight in sorted(each.named_parameters()):
                    if name in plain_weights:
                        weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
        torch.testing.assert_close(said(network, state), said(plain, state), atol=1e-6, rtol=0)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name not in plain_weights:
                    weight.normal_()
        moved = float((said(network, later) - said(network, state)).abs().max() / said(network, state).abs().max())
        assert moved > 1e-2 if absolute else moved < 1e-4, moved


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width 30 cannot be shared by 4 heads of even width: choose a multiple of 8"):
        DiTConfig(width=30, heads=4)


def test_every_matrix_product_has_a_role() -> None:
    from anylatent.nn.layers import Linear

    network = DiTConfig(depth=1, width=16, heads=2).build(two_stream_specs(), cross=True)
    linears = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    assert all(isinstance(module, Linear) for module in linears)
    roles = {module.role for module in linears if isinstance(module, Linear)}
    assert roles == {"qkv", "q", "kv", "out", "mlp_in", "mlp_out", "modulation", "embed", "readout"}


class TestKernels:
    def test_the_packed_product_is_the_plain_one_and_follows_its_weight(self) -> None:
        x, weight, bias = torch.randn(300, 64), torch.randn(48, 64), torch.randn(48)
        with torch.no_grad():
            for _ in range(2):
                torch.testing.assert_close(
                    kernels._packed_linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias), atol=1e-4, rtol=1e-4
                )
                weight.mul_(2)  # a pack made of the old weight would now be wrong

    def test_the_choice_can_be_fixed_and_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernels.linear_kernel.cache_clear()
        monkeypatch.setenv("ANYLATENT_KERNELS", "onednn")
        assert kernels.linear_kernel() == "onednn"
        kernels.linear_kernel.cache_clear()
        monkeypatch.setenv("ANYLATENT_KERNELS", "fast")
        with pytest.raises(ValueError, match="ANYLATENT_KERNELS is 'fast': expected auto, torch or onednn"):
            kernels.linear_kernel()
        kernels.linear_kernel.cache_clear()
