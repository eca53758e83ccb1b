"""Files that are written whole or not at all, and tensors that are read with suspicion."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class DamagedFile(ValueError):
    """A file of a run is not what was written: truncated, changed, or something else under its name."""


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file whole: to a temporary name beside it, then renamed. Errors: `OSError`; the old file is then untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _naming(path):
            with open(part, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def append_text(path: Path, content: str) -> Path:
    """Add to the end of a file. Errors: `OSError`; a part of `content` may then be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), open(path, "a", encoding="utf-8") as stream:
        stream.write(content)
    return path


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says which file could not be written: of a full disk, Python does not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error


def write_text(path: Path, content: str) -> Path:
    """Write a text file whole, in UTF-8."""
    return write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file whole, with sorted keys."""
    return write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Errors: `FileNotFoundError`; `DamagedFile` if it is not JSON."""
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFile(f"{path} is damaged: it is not JSON ({error})") from error


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> Path:
    """Write safetensors whole."""
    from safetensors.torch import save

    return write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read safetensors; nothing else is ever read as weights. Errors: `FileNotFoundError`; `DamagedFile`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(f"{path} is not a whole safetensors file ({error}): it was truncated, changed, or is another format") from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and vanishes when it does not."""
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write `sha256.json` over the files of a folder, last: a folder that has one is whole."""
    sealed = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "sha256.json" and not file.name.startswith("."))
    write_json(folder / "sha256.json", {file.name: sha256_of(file) for file in sealed})


def check_seal(folder: Path) -> None:
    """Errors: `DamagedFile` names the first file that is missing or differs from what was written."""
    seal_file = folder / "sha256.json"
    if not seal_file.is_file():
        raise DamagedFile(f"{folder} is not whole: it has no sha256.json")
    for name, digest in read_json(seal_file).items():
        if not (folder / name).is_file():
            raise DamagedFile(f"{folder / name} is missing")
        if sha256_of(folder / name) != digest:
            raise DamagedFile(f"{folder / name} is damaged: its sha256 is not the one written beside it")


def digest_of(*parts: str) -> str:
    """A short digest of texts, for file names."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]


def cache_folder() -> Path:
    """Where fetched data, latents and metric networks are kept: `$ANYLATENT_CACHE`, or `~/.cache/anylatent`."""
    return Path(os.environ.get("ANYLATENT_CACHE") or Path.home() / ".cache" / "anylatent")


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def debian_tar(path: Path) -> tarfile.TarFile:
    """The files that a .deb archive would install, as an open tar. Errors: `DamagedFile` if it is none.

    A .deb is an `ar` archive (deb(5)): 8 bytes of magic, then members, each with a header of 60 bytes, padded to 2 bytes.
    """
    content = path.read_bytes()
    at = 8
    while content.startswith(b"!<arch>\n") and at + 60 <= len(content):
        name, size = content[at : at + 16].decode("ascii", "replace").strip(" /"), content[at + 48 : at + 58]
        if not size.strip().isdigit():
            break
        if at + 60 + int(size) > len(content):
            raise DamagedFile(f"{path} is truncated: '{name}' in it has {int(size):,} bytes, {len(content) - at - 60:,} of them are there")
        if name.startswith("data.tar"):
            try:
                return tarfile.open(fileobj=io.BytesIO(content[at + 60 : at + 60 + int(size)]))
            except tarfile.TarError as error:
                raise DamagedFile(f"{path}: the archive in it cannot be read ({error})") from error
        at += 60 + int(size) + int(size) % 2
    raise DamagedFile(f"{path} is no Debian package: expected an `ar` archive with a member data.tar")
