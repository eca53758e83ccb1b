"""The tokenizer of chunks, and the modality."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anylatent.editing.masked_completion import MaskedCompletion
from anylatent.state import State
from anylatent.testing import EditorCase, EditorContract, ModalityCase, ModalityContract, TokenizerCase, TokenizerContract
from anylatent.tokenizers.base import Tokenizer
from anylatent_robot.chunk import Chunk, Episode
from anylatent_robot.chunks import ChunksConfig
from anylatent_robot.metaworld_data import MetaWorld
from anylatent_robot.modality import Robot


def some_chunks(count: int = 12, history: int = 2, horizon: int = 4) -> list[Chunk]:
    """Smooth chunks of two tasks: 3 observed channels in their own scales, one of them constant, 2 acted ones."""
    generator = torch.Generator().manual_seed(5)
    scale, shift = torch.tensor([0.1, 30.0, 0.0]), torch.tensor([1.0, -7.0, 2.0])
    return [
        Chunk(
            torch.randn(history, 3, generator=generator) * scale + shift,
            torch.randn(horizon, 2, generator=generator).cumsum(0) * 0.2,
            20.0,
            ("reach", "push")[i % 2],
            ("reach for it", "push it")[i % 2],
        )
        for i in range(count)
    ]


def bad_chunks() -> list[object]:
    good = some_chunks()[0]
    return [
        torch.zeros(4, 2),
        replace(good, actions=torch.full((4, 2), torch.nan)),
        replace(good, actions=good.actions[:3]),
        replace(good, observations=good.observations[:, :2]),
        replace(good, observations=good.observations.double()),
        replace(good, hz=10.0),
    ]


class TestChunks(TokenizerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> TokenizerCase:
        return TokenizerCase(ChunksConfig(), some_chunks(), bad=bad_chunks(), sizes={4: 6, 9: 11})

    def test_tokens_have_mean_0_and_scale_1(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Of each channel that moves; one that never does stays 0."""
        state = tokenizer.encode(list(case.samples))
        for name, moving in (("observation", [0, 1]), ("action", [0, 1])):
            values = state[name].values.flatten(0, 1)
            assert values.mean(0).abs().max() < 1e-4
            torch.testing.assert_close(values[:, moving].square().mean(0).sqrt(), torch.ones(2), atol=0.02, rtol=0)
        assert not state["observation"].values[..., 2].any()

    def test_layouts_are_given_observations_of_the_training_set(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        known = tokenizer.encode(list(case.samples))["observation"].values
        given = tokenizer.layout(torch.tensor([3, 1, 4, 1]))["observation"]
        assert given.keep.all()
        assert all(any(torch.equal(row, other) for other in known) for row in given.values)

    def test_layouts_are_of_the_asked_task(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """By its name or in words; what was never seen asks nothing."""
        known = tokenizer.encode(list(case.samples))["observation"].values
        for asked, parity in (({"task": "push"}, 1), ({"caption": "reach for it"}, 0)):
            given = tokenizer.layout(torch.arange(20), [asked] * 20)["observation"].values
            assert all(any(torch.equal(row, other) for other in known[parity::2]) for row in given)
        assert len(tokenizer.layout(torch.arange(3), [{"task": "fly"}] * 3)) == 3

    def test_time_is_in_seconds(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """The newest observation and the first action are at 0, the others a control step apart."""
        state = tokenizer.encode(list(case.samples)[:1])
        torch.testing.assert_close(state["observation"].positions[0, :, 0], torch.tensor([-0.05, 0.0]))
        torch.testing.assert_close(state["action"].positions[0, :, 0], torch.tensor([0.0, 0.05, 0.1, 0.15]))
        assert [spec.given for spec in tokenizer.specs] == [True, False]

    def test_a_start_has_the_observations_and_the_guess(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        samples = list(case.samples)[:3]
        observations, actions = (torch.stack([getattr(s, name) for s in samples]) for name in ("observations", "actions"))
        state = tokenizer.start(observations, torch.tensor([7, 8, 9]), actions)
        encoded = tokenizer.encode(samples)
        for name in ("observation", "action"):
            torch.testing.assert_close(state[name].values, encoded[name].values)
        assert state["observation"].keep.all()
        with pytest.raises(ValueError, match=r"expected observations \(rows, 2 steps, 3 channels\), given \(3, 1, 3\)"):
            tokenizer.start(observations[:, :1], torch.tensor([7, 8, 9]))

    def test_actions_stay_within_what_was_seen(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        state = tokenizer.layout(torch.arange(2))
        wild = state.with_values({"action": state["action"].values + 100})
        highest = torch.stack([sample.actions for sample in case.samples]).amax((0, 1))
        torch.testing.assert_close(tokenizer.decode(wild)[0].actions, highest.expand(4, -1))

    def test_observations_far_off_are_cut(self, case: TokenizerCase, tokenizer: Tokenizer) -> None:
        """Or one broken sensor would drown everything else."""
        far = replace(case.samples[0], observations=case.samples[0].observations + 1000)
        assert tokenizer.encode([far])["observation"].values.abs().max() == case.config.clip

    def test_longer_chunks_are_decoded_whole_beside_others(self, tokenizer: Tokenizer) -> None:
        state = State.cat([tokenizer.layout(torch.arange(2), size=9), tokenizer.layout(torch.arange(2))])
        assert [len(chunk.actions) for chunk in tokenizer.decode(state)] == [9, 9, 4, 4]
        torch.testing.assert_close(state["action"].positions[0, :, 0], torch.arange(9) / some_chunks()[0].hz)

    def test_other_samples_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'robot\.chunks' takes chunks of robot actions .* given float32 of shape \(3, 3, 1\)"):
            ChunksConfig().build(torch.zeros(3, 3, 1))


class TestRobot(ModalityContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ModalityCase:
        return ModalityCase(Robot(data=MetaWorld()), some_chunks(5))

    def test_the_table_has_every_action(self, case: ModalityCase, tmp_path: Path) -> None:
        """A row an action, with its time in seconds."""
        case.modality.write(case.samples, tmp_path)
        rows = list(csv.DictReader((tmp_path / "actions.csv").read_text().splitlines()))
        assert len(rows) == 5 * 4
        assert [row["t_s"] for row in rows[:4]] == ["0", "0.05", "0.1", "0.15"]
        assert float(rows[5]["action_1"]) == pytest.approx(float(case.samples[1].actions[1, 1]), rel=1e-6)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ('{"hz": 20, "actions": [[1]]}', "KeyError: 'observations'"),
            ('{"hz": 20, "observations": [[1]], "actions": [[NaN]]}', r"`actions` are to be finite numbers \(steps x channels\)"),
            ('{"hz": 20, "observations": [1, 2], "actions": [[1]]}', r"`observations` are to be finite .* given shape \(2,\)"),
            ('{"hz": 20, "observations": [[1], [1, 2]], "actions": [[1]]}', "expected JSON with `hz`, `observations`"),
        ],
    )
    def test_bad_files_say_what_is_wrong(self, case: ModalityCase, tmp_path: Path, content: str, what: str) -> None:
        (tmp_path / "mine.json").write_text(content)
        with pytest.raises(ValueError, match=rf"mine\.json.*{what}"):
            case.modality.read(tmp_path / "mine.json")


def test_chunks_reach_over_the_ends_of_an_episode() -> None:
    """Before the beginning everything stood still; after the end the last action goes on."""
    episode = Episode(torch.arange(5.0)[:, None], 10 + torch.arange(5.0)[:, None], "one")
    first, last = episode.chunk(0, 3, 2, 20.0), episode.chunk(4, 3, 3, 20.0)
    assert first.observations.flatten().tolist() == [0, 0, 0]
    assert first.actions.flatten().tolist() == [10, 11]
    assert last.observations.flatten().tolist() == [2, 3, 4]
    assert last.actions.flatten().tolist() == [14, 14, 14]


class TestCompletion(EditorContract):
    """The rest of a chunk is made anew: core's editor, no code of this plugin."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> EditorCase:
        tokenizer = TokenizerCase(ChunksConfig(), some_chunks()).fitted()
        return EditorCase(
            MaskedCompletion(anew={"t": (0.5, 1.0)}),
            tokenizer,
            some_chunks()[:4],
            refused=[(MaskedCompletion(anew={"t": (0.4, 0.6)}), "everything would be kept of the 4 tokens of given sample 0")],
        )
