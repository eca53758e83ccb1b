"""Sources of data: fetched by their registry's own client, verified, put in place whole."""

import hashlib
from pathlib import Path

import pytest

from anylatent.data import Source

CONTENT = b"what the registry holds"


def source(registry: str, content: bytes = CONTENT) -> Source:
    made = {"package": "sounds", "version": "1.2-3", "sha256": hashlib.sha256(content).hexdigest(), "licence": "CC0", "megabytes": 0.1}
    return Source.model_validate({"registry": registry} | made)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for npm and apt-get that note how they were called and then do what `does` says; nothing else is on the PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("npm", "apt-get"):
        (tools / name).write_text(f'#!/bin/sh\necho "$0 $@" >> "{tmp_path}/called"\n. "{tmp_path}/does"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_debian_package_is_downloaded_checked_and_kept(client: Path) -> None:
    """Into a folder of its own, once; where it then lies says which version it is."""
    (client / "does").write_text(f"printf '{CONTENT.decode()}' > sounds_1.2-3_all.deb")
    asked = source("debian")
    path = asked.fetch()
    assert path.read_bytes() == CONTENT
    assert path == asked.path == client / "cache" / "data" / f"sounds-1.2-3-{asked.sha256[:12]}.archive"
    assert asked.fetch() == path
    assert (client / "called").read_text().splitlines() == [f"{client}/tools/apt-get download --quiet sounds=1.2-3"], "once"
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing half written is left"


def test_an_npm_package_is_packed_into_the_folder(client: Path) -> None:
    (client / "does").write_text(f"printf '{CONTENT.decode()}' > sounds-1.2-3.tgz")
    assert source("npm").fetch().read_bytes() == CONTENT
    called = (client / "called").read_text().split()
    assert called[:4] == [f"{client}/tools/npm", "pack", "--silent", "--pack-destination"]
    assert called[5:] == ["sounds@1.2-3"]


@pytest.mark.parametrize("registry", ["npm", "debian"])
@pytest.mark.parametrize(
    ("does", "error", "message"),
    [
        ("echo 'E: no such package' >&2; exit 100", RuntimeError, r"cannot fetch sounds[=@]1\.2-3 from (npm|debian): E: no such package"),
        ("exit 0", RuntimeError, r"cannot fetch sounds[=@]1\.2-3 from (npm|debian): nothing was downloaded"),
        (
            "printf changed > a.deb", ValueError,
            r"sounds[=@]1\.2-3 has sha256 [0-9a-f]{64}, expected [0-9a-f]{64}: not used; the registry's file has changed",
        ),
    ],
    ids=["refused", "nothing", "another file"],
)  # fmt: skip
def test_what_did_not_come_or_is_another_file_is_not_kept(registry: str, does: str, error: type, message: str, client: Path) -> None:
    (client / "does").write_text(does)
    with pytest.raises(error, match=message):
        source(registry).fetch()
    assert not source(registry).path.exists()


@pytest.mark.parametrize(("registry", "command"), [("npm", "npm"), ("debian", "apt-get")])
def test_a_client_that_is_not_installed_is_named(registry: str, command: str, client: Path) -> None:
    (client / "tools" / command).unlink()
    with pytest.raises(RuntimeError, match=rf"cannot fetch sounds[=@]1\.2-3: the command '{command}' is not installed"):
        source(registry).fetch()


def test_versions_and_contents_lie_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYLATENT_CACHE", str(tmp_path))
    asked = source("npm").model_copy(update={"package": "@sounds/all"})
    assert asked.path.parent == tmp_path / "data"
    assert "@sounds+all-1.2-3" in asked.path.name
    paths = {asked.path, asked.model_copy(update={"version": "2"}).path, asked.model_copy(update={"sha256": "0" * 64}).path}
    assert len(paths) == 3
