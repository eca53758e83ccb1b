"""The convolutional autoencoder: its contract, and that it learns."""

from functools import cache

import pytest
import torch

from anylatent.random import seed_of
from anylatent.testing import TokenizerCase, TokenizerContract
from anylatent.testing.backbones import shaken
from anylatent_image.autoencoder import Autoencoder
from anylatent_image.autoencoder_config import AutoencoderConfig
from anylatent_image.digits import Digits
from anylatent_image.modality import Image


def _digits(split: str) -> list[torch.Tensor]:
    dataset = Digits().build(split)
    return [dataset[i].sample for i in range(len(dataset))]


class TestOnDigits(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        bad = [torch.zeros(8, 7, 1), torch.zeros(8, 8, 3), torch.zeros(8, 8)]
        # Untrained, it decodes to something else than it was given.
        return TokenizerCase(
            AutoencoderConfig(factor=2, width=8), _digits("test")[:12], Image.axes, bad, sizes={8: 16, (4, 12): 12}, round_trip=None
        )


class TestOnColour(TokenizerContract):
    """Not square, another factor and depth."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        samples = list(torch.rand(5, 16, 24, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        return TokenizerCase(
            AutoencoderConfig(factor=8, width=8, depth=2, channels=3),
            samples,
            Image.axes,
            ["no image"],
            sizes={16: 6, (8, 64): 8},
            round_trip=None,
        )


@cache
def _trained() -> tuple[Autoencoder, list[float]]:
    """A small one after 150 steps, and its losses."""
    samples, losses = _digits("train"), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = AutoencoderConfig(factor=2, width=16).build(samples[0], Image.axes)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), 3e-3)
    for step in range(150):
        batch = samples[step * 64 % 1400 :][:64]
        loss = autoencoder.loss(batch, torch.arange(len(batch)) + seed_of(step) // 2)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    autoencoder.eval()
    autoencoder.fit(samples)
    return autoencoder, losses


def test_it_learns_to_reconstruct_digits_it_never_saw() -> None:
    """In 150 steps the loss falls to a quarter, and held-out digits come back with an error below a twentieth of their variance."""
    autoencoder, losses = _trained()
    assert sum(losses[-10:]) < sum(losses[:10]) / 4
    held_out = torch.stack(_digits("test"))
    restored = torch.stack(autoencoder.decode(autoencoder.encode(list(held_out))))
    assert restored.shape == held_out.shape
    assert (restored - held_out).square().mean() < held_out.var() / 20


def test_its_latents_of_training_samples_are_normalised() -> None:
    autoencoder, _ = _trained()
    values = autoencoder.encode(_digits("train"))["image"].values.flatten(0, 1)
    torch.testing.assert_close(values.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(values.std(0), torch.ones(4), atol=1e-2, rtol=0)


def test_drawn_latents_scatter_around_their_mean_by_row_seed() -> None:
    """A seed gives one draw, whoever else is encoded; over many seeds the draws average to the mean."""
    autoencoder, _ = _trained()
    sample = _digits("test")[0]
    mean = autoencoder.encode([sample])["image"].values[0]
    draws = autoencoder.encode([sample] * 400, torch.arange(400))["image"].values
    assert draws.std(0).min() > 0
    torch.testing.assert_close(draws.mean(0), mean, atol=5 * float(draws.std(0).max()) / 20, rtol=0)
    alone = autoencoder.encode([sample], torch.tensor([7]))["image"].values[0]
    torch.testing.assert_close(alone, draws[7], atol=1e-5, rtol=0)


def test_positions_are_the_centres_of_the_cells_in_px() -> None:
    config = AutoencoderConfig(factor=4, width=8)
    state = config.build(torch.zeros(8, 12, 3)).encode([torch.zeros(8, 12, 3)])
    assert state["image"].positions[0].tolist() == [[y, x] for y in (1.5, 5.5) for x in (1.5, 5.5, 9.5)]


def test_large_sets_are_encoded_in_parts() -> None:
    """300 images give what each gives alone, drawn or not."""
    autoencoder, _ = _trained()
    samples, seeds = _digits("train")[:300], torch.arange(300)
    for given in (None, seeds):
        state = autoencoder.encode(samples, given)
        alone = autoencoder.encode(samples[290:291], None if given is None else given[290:291])
        torch.testing.assert_close(state["image"].values[290], alone["image"].values[0], atol=1e-4, rtol=0)


def test_rows_of_digits_are_restored_like_digits() -> None:
    """Convolutions do not mind the size; pictures of several sizes share a batch.

    The error is 0.030, of one digit 0.013: norms see the whole picture, and digits meet where training saw an edge.
    """
    autoencoder, _ = _trained()
    digits = _digits("test")[:60]
    rows = [torch.cat(digits[i : i + 5], 1) for i in range(0, 60, 5)]
    restored = autoencoder.decode(autoencoder.encode([*rows, *digits]))
    assert [tuple(picture.shape) for picture in restored] == [(8, 40, 1)] * 12 + [(8, 8, 1)] * 60
    error = torch.stack([(made - own).square().mean() for made, own in zip(restored, [*rows, *digits])])
    assert error[:12].mean() < 3 * error[12:].mean() < 0.1 * torch.stack(digits).var()


def test_what_is_logged_is_the_mean_over_samples_of_all_sizes() -> None:
    """The loss is a sum of the logged terms, so its mean over rows is that of their means."""
    digits = _digits("test")[:9]
    autoencoder = AutoencoderConfig(factor=4, width=8).build(digits[0])
    shaken(autoencoder, size=0.1)
    samples = [*digits, torch.cat(digits[:5], 1), torch.cat(digits[5:9], 0)]
    losses, terms = autoencoder.loss(samples, torch.arange(len(samples)))
    config = autoencoder.config
    together = terms["squared"] + config.l1_weight * terms["absolute"] + config.kl_weight * terms["kl"]
    torch.testing.assert_close(together, losses.mean())


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"factor 4 needs sides that are multiples of it, given 8 x 10 pixels: choose another `factor`"):
        AutoencoderConfig(factor=4).build(torch.zeros(8, 10, 3))
    with pytest.raises(ValueError, match=r"takes tensors \(height, width, channels\), given str"):
        AutoencoderConfig().build("a picture")
    autoencoder = AutoencoderConfig(factor=2, width=8).build(torch.zeros(8, 8, 1))
    with pytest.raises(ValueError, match=r"sample 1: expected .* \(height, width, 1 channels\), sides .* of 2, given .*\(8, 7, 1\)"):
        autoencoder.encode([torch.zeros(8, 8, 1), torch.zeros(8, 7, 1)])
    with pytest.raises(ValueError, match=r"size 8x9: expected a number of axis 'x', a multiple of 2, given 9"):
        autoencoder.layout(torch.arange(2), size=(8, 9))
