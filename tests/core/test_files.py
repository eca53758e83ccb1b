import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import fill_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anylatent import files
from anylatent.files import DamagedFile


def names(folder: Path) -> set[str]:
    """Everything in a folder, hidden leftovers too."""
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------------------------------------------------------- whole


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b/c": torch.tensor([1, 2]), "d": torch.tensor(True), "e": torch.randn(4, 3).T, "f": torch.zeros(0)}
    files.write_tensors(tmp_path / "x" / "y.safetensors", tensors)
    read = files.read_tensors(tmp_path / "x" / "y.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    content = {"b": [1, 2.5, None], "a": "naïve"}
    assert files.read_json(files.write_json(tmp_path / "z.json", content)) == content
    assert files.write_text(tmp_path / "t.txt", "naïve\n").read_bytes() == "naïve\n".encode()
    files.append_text(tmp_path / "t.txt", "more\n")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "naïve\nmore\n"


@pytest.mark.parametrize("room", [0, 5])
def test_a_full_disk_leaves_the_old_file_and_names_it(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files.write_text(tmp_path / "kept.txt", "as it was")
    fill_disk(monkeypatch, room)
    with pytest.raises(OSError, match=r"cannot write .*kept\.txt: No space left on device"):
        files.write_text(file, "something longer")
    assert file.read_text() == "as it was"
    assert names(tmp_path) == {"kept.txt"}, "nothing half written is left"


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_at_the_end_leaves_the_old_file_too(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files.write_text(tmp_path / "kept.txt", "as it was")

    def fail(*arguments: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(OSError, match=r"cannot write .*kept\.txt: Input/output error"):
        files.write_text(file, "new")
    assert file.read_text() == "as it was"
    assert names(tmp_path) == {"kept.txt"}


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "made"
    with files.whole_folder(target) as part:
        (part / "one").write_text("1")
        assert not target.exists(), "not before it is whole"
    assert names(target) == {"one"}
    with pytest.raises(KeyError):
        _write_folder(target, "two", KeyError("trouble on the way"))
    assert names(target) == {"one"}
    with files.whole_folder(target) as part:
        (part / "two").write_text("2")
    assert names(target) == {"two"}, "the old one is gone as a whole"
    assert names(tmp_path) == {"made"}

    replace, calls = os.replace, []

    def fail_second(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(*arguments)

    monkeypatch.setattr(os, "replace", fail_second)
    with pytest.raises(OSError, match="No space left"):
        _write_folder(target, "three")
    assert names(target) == {"two"}, "the old one is back"
    assert names(tmp_path) == {"made"}


def _write_folder(target: Path, name: str, problem: Exception | None = None) -> None:
    with files.whole_folder(target) as part:
        (part / name).write_text("new")
        if problem:
            raise problem


# -------------------------------------------------------------------------------------------------------------- damaged


TENSORS = {"weight": torch.arange(6.0).reshape(2, 3)}


class Trap:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:4],
        lambda whole: b"",
        lambda whole: struct.pack("<Q", 2**62) + whole[8:],
        lambda whole: pickle.dumps(Trap()),
        lambda whole: b"PK\x03\x04" + whole,
        lambda whole: bytes(64),
    ],
    ids=["last byte", "half", "four bytes", "empty", "huge header", "pickle", "zip", "zeros"],
)
def test_what_is_no_safetensors_file_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = files.write_tensors(tmp_path / "weights.safetensors", TENSORS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        DamagedFile, match=r"weights\.safetensors is not a whole safetensors file .*: it was truncated, changed, or is another format"
    ):
        files.read_tensors(path)
    assert not (tmp_path / "ran").exists(), "no code was run"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.safetensors"):
        files.read_tensors(tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files.read_tensors(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1', b"\xff\xfe{}", b"nonsense"])
def test_damaged_json_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"x\.json is damaged: it is not JSON"):
        files.read_json(tmp_path / "x.json")


# ----------------------------------------------------------------------------------------------------------------- seal


def sealed(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    files.write_tensors(folder / "weights.safetensors", TENSORS)
    files.write_json(folder / "state.json", {"step": 3})
    (folder / ".left.part").write_text("of a killed process")
    (folder / "inner").mkdir(exist_ok=True)
    files.seal(folder)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 10_000), name=st.sampled_from(["weights.safetensors", "state.json", "sha256.json"]))
def test_any_flipped_bit_is_found(bit: int, name: str, tmp_path: Path) -> None:
    """In a file, or in the seal itself."""
    folder = sealed(tmp_path / "folder")
    files.check_seal(folder)
    content = bytearray((folder / name).read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    (folder / name).write_bytes(content)
    if name == "sha256.json" and _means_the_same(bytes(content), folder):
        return  # white space, or a digit of a name's escape
    with pytest.raises(DamagedFile, match=r"is damaged|is missing|is not whole"):
        files.check_seal(folder)


def _means_the_same(content: bytes, folder: Path) -> bool:
    try:
        return json.loads(content) == {name: files.sha256_of(folder / name) for name in ("weights.safetensors", "state.json")}
    except ValueError:
        return False


def test_a_missing_file_and_a_missing_seal_are_named(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "folder")
    (folder / "state.json").unlink()
    with pytest.raises(DamagedFile, match=r"state\.json is missing"):
        files.check_seal(folder)
    (folder / "sha256.json").unlink()
    with pytest.raises(DamagedFile, match=r"folder is not whole: it has no sha256\.json"):
        files.check_seal(folder)


def test_what_is_no_part_of_it_may_come_and_go(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "folder")
    (folder / ".left.part").unlink()
    (folder / "inner").rmdir()
    files.check_seal(folder)


def test_digests_of_texts_do_not_run_together() -> None:
    assert files.digest_of("ab", "c") != files.digest_of("a", "bc")
    assert files.digest_of("ab", "c") == files.digest_of("ab", "c")


# --------------------------------------------------------------------------------------------------------------- debian


INSIDE = {"./usr/share/sounds/one.txt": b"one", "./usr/share/doc/copyright": b"CC BY"}


def archived(members: Mapping[str, bytes], magic: bytes = b"!<arch>\n") -> bytes:
    """An `ar` archive."""
    content = magic
    for name, data in members.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return content


def tarred(packing: str = "xz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{packing}") as tar:  # type: ignore[call-overload]
        for name, data in INSIDE.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def debian(packing: str = "xz") -> bytes:
    suffix = f".{packing}" if packing else ""
    return archived({"debian-binary": b"2.0\n", f"control.tar{suffix}": b"odd", f"data.tar{suffix}": tarred(packing)})


@pytest.mark.parametrize("packing", ["xz", "gz", ""])
def test_what_a_debian_package_holds_is_read(packing: str, tmp_path: Path) -> None:
    """Members of odd length are padded; the data are found behind them."""
    (tmp_path / "a.deb").write_bytes(debian(packing))
    with files.debian_tar(tmp_path / "a.deb") as tar:
        held = {entry.name: tar.extractfile(entry) for entry in tar.getmembers()}
        assert {name: file.read() for name, file in held.items() if file} == INSIDE


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="Debian's tool is not here")
def test_a_package_of_debians_own_tool_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files.write_text(root / "DEBIAN" / "control", "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a\n")
    files.write_text(root / "usr" / "share" / "one.txt", "one")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, tmp_path / "a.deb"], check=True, capture_output=True)
    with files.debian_tar(tmp_path / "a.deb") as tar:
        file = tar.extractfile("./usr/share/one.txt")
        assert file
        assert file.read() == b"one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.deb is no Debian package: expected an `ar` archive with a member data\.tar"),
        (b"PK\x03\x04" + debian(), r"a\.deb is no Debian package"),
        (archived({"data.tar.xz": tarred()}, magic=b"!<arcH>\n"), r"a\.deb is no Debian package"),
        (archived({"debian-binary": b"2.0\n", "control.tar.xz": b"odd"}), r"a\.deb is no Debian package"),
        (debian()[:30], r"a\.deb is no Debian package"),
        (debian()[:-20], r"a\.deb is truncated: 'data\.tar\.xz' in it has [\d,]+ bytes, [\d,]+ of them are there"),
        (debian()[: 8 + 60 + 4 + 60 + 1], r"a\.deb is truncated: 'control\.tar\.xz' in it has 3 bytes, 1 of them are there"),
        (archived({"data.tar.xz": b"no tar"}), r"a\.deb: the archive in it cannot be read"),
        (archived({"debian-binary": b"2.0\n"}) + b"?" * 60, r"a\.deb is no Debian package"),
    ],
    ids=["empty", "zip", "wrong magic", "no data", "half a header", "truncated data", "truncated before", "no tar", "no header"],
)
def test_what_is_no_debian_package_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(content)
    with pytest.raises(DamagedFile, match=message):
        files.debian_tar(tmp_path / "a.deb")
