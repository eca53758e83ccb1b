"""The causal autoencoder: its contract, that it is causal, that chunks give the whole, and that it learns."""

from functools import cache

import pytest
import torch

from anylatent.random import seed_of
from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent.testing.backbones import shaken
from anylatent_video.autoencoder import Autoencoder
from anylatent_video.autoencoder_config import AutoencoderConfig
from anylatent_video.causal import Past
from anylatent_video.modality import Video
from anylatent_video.moving import Moving

AXES = Video(data=Moving()).sample_axes()


def _noise(frames: int, seed: int = 0, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestOnClipsOfSeveralLengths(TokenizerContract):
    """Images of one frame among them."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [_noise(frames, seed) for seed, frames in enumerate((9, 5, 1, 9, 13))]
        bad = [_noise(4), _noise(9, width=10), torch.zeros(9, 8, 8), "no clip", _noise(5) * torch.nan]
        config = AutoencoderConfig(time=4, factor=4, width=8, chunk=2)
        # Untrained, it decodes to something else than it was given.
        return TokenizerCase(config, samples, AXES, bad, sizes={1: 4, 9: 12, 21: 24, (5, 4, 16): 8}, round_trip=None)


class TestWithoutTimeCompression(TokenizerContract):
    """Not square, a token a frame."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = [_noise(4, seed, 8, 12) for seed in range(4)]
        config = AutoencoderConfig(time=1, factor=4, width=8, channels=3)
        return TokenizerCase(config, samples, AXES, [_noise(4, height=6)], sizes={4: 24, 3: 18, (2, 4): 6}, round_trip=None)


def _shaken(time: int = 4, chunk: int = 100) -> Autoencoder:
    """Weights that do something in every layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = AutoencoderConfig(time=time, factor=4, width=8, chunk=chunk).build(_noise(17), AXES)
        shaken(autoencoder, size=0.1)
    return autoencoder.eval()


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
@pytest.mark.parametrize("time", [1, 2, 4])
def test_chunks_give_the_whole(time: int, chunk: int) -> None:
    """Encoded and decoded some latent times at once, to the last bits of a float."""
    clip = [_noise(17), _noise(1 + 3 * time, 1), _noise(1, 2)]
    whole, parts = _shaken(time), _shaken(time, chunk)
    state = whole.encode(clip)
    torch.testing.assert_close(parts.encode(clip)["video"].values, state["video"].values, atol=2e-5, rtol=0)
    for one, other in zip(whole.decode(state), parts.decode(state), strict=True):
        torch.testing.assert_close(other, one, atol=2e-5, rtol=0)


def test_chunks_without_their_past_do_not() -> None:
    """What the test above would see if nothing were remembered between chunks."""
    autoencoder = _shaken()
    pixels = _noise(17).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        whole = autoencoder.encoder(pixels)
        first, forgetful = autoencoder.encoder(pixels[:, :, :9], Past()), autoencoder.encoder(pixels[:, :, 8:], Past())
    torch.testing.assert_close(first, whole[:, :, :3], atol=2e-5, rtol=0)
    assert (forgetful[:, :, 1:] - whole[:, :, 3:]).abs().max() > 1e-2


def test_no_latent_sees_the_future_and_the_first_frame_is_an_image() -> None:
    """A change of frame 9 changes the latents of frames 9 to 12 and later ones; the first latent is that of the frame alone."""
    autoencoder = _shaken()
    clip, other = _noise(17), _noise(17)
    other[9] = -other[9]
    before, after = (autoencoder.encode([x])["video"].values[0].unflatten(0, (5, 4)) for x in (clip, other))
    changed = (before - after).abs().amax((1, 2))
    assert changed[:3].max() < 1e-5
    assert changed[3] > 1e-2
    image = autoencoder.encode([clip[:1]])["video"].values[0]
    torch.testing.assert_close(image, before[0], atol=1e-5, rtol=0)


def test_the_decoder_is_causal_too() -> None:
    autoencoder = _shaken()
    state = autoencoder.encode([_noise(17)])
    values = state["video"].values.clone()
    values[:, 12:16] += 1  # the fourth latent time, frames 9 to 12
    before, after = autoencoder.decode(state)[0], autoencoder.decode(state.with_values({"video": values}))[0]
    apart = (before - after).abs().amax((1, 2, 3))
    assert apart[:9].max() < 1e-5
    assert apart[9:].max() > 1e-2


def test_positions_are_centres_in_seconds_and_px() -> None:
    """At 8 frames a second: frame 0; then frames 1 to 4, whose middle is frame 2.5."""
    positions = _shaken().encode([_noise(9)])["video"].positions[0]
    assert positions[::4, 0].tolist() == [0.0, 2.5 / 8, 6.5 / 8]
    assert positions[:4, 1:].tolist() == [[1.5, 1.5], [1.5, 5.5], [5.5, 1.5], [5.5, 5.5]]
    assert _shaken().specs[0].axes[0].step == 0.5


@cache
def _trained() -> tuple[Autoencoder, list[float]]:
    """A small one after 80 steps on moving sprites, and its losses."""
    dataset, losses = Moving(count=250, frames=3, size=8).build("train"), []
    samples = [dataset[i].sample for i in range(len(dataset))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = AutoencoderConfig(time=2, factor=2, width=8, channels=8).build(samples[0], AXES)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), 4e-3)
    for step in range(80):
        batch = samples[step * 16 % 200 :][:16]
        loss = autoencoder.loss(batch, torch.arange(len(batch)) + seed_of(step) // 2)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    autoencoder.eval()
    autoencoder.fit(samples)
    return autoencoder, losses


def test_it_learns_to_reconstruct_clips_it_never_saw() -> None:
    autoencoder, losses = _trained()
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    dataset = Moving(count=250, frames=3, size=8).build("test")
    held_out = [dataset[i].sample for i in range(len(dataset))]
    restored = torch.stack(autoencoder.decode(autoencoder.encode(held_out)))
    truth = torch.stack(held_out)
    assert (restored - truth).square().mean() < truth.var() / 2


def test_what_is_logged_is_the_mean_over_samples_of_all_sizes() -> None:
    """The loss is a sum of the logged terms, so its mean over rows is that of their means."""
    autoencoder = _shaken()
    samples = [_noise(frames, seed) for seed, frames in enumerate((9, 5, 1, 9))]
    losses, terms = autoencoder.loss(samples, torch.arange(len(samples)))
    config = autoencoder.config
    together = terms["squared"] + config.l1_weight * terms["absolute"] + config.kl_weight * terms["kl"]
    torch.testing.assert_close(together, losses.mean())


def test_clips_that_do_not_fit_are_refused() -> None:
    config = AutoencoderConfig(time=4, factor=4)
    with pytest.raises(ValueError, match=r"time 4 needs 1 \+ n \* 4 frames, given 8: set `frames` of the data set to 5 or 9"):
        config.build(_noise(8))
    with pytest.raises(ValueError, match=r"factor 4 needs sides that are multiples of it, given 8 x 10 pixels: choose another `factor`"):
        config.build(_noise(9, width=10))
    with pytest.raises(ValueError, match=r"takes tensors \(frames, height, width, channels\), given str"):
        config.build("a film")
    with pytest.raises(
        ValueError,
        match=r"sample 1: expected finite float32 numbers \(1 \+ n \* 4 frames, height, width, 3 .* of 4, given .*\(4, 8, 8, 3\)",
    ):
        _shaken().encode([_noise(5), _noise(4)])
    with pytest.raises(ValueError, match=r"size 8: video.autoencoder makes clips of 1 \+ n \* 4 frames"):
        _shaken().layout(torch.arange(2), size=8)
