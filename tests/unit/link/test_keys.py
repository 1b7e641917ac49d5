"""Keys are made once, belong to their owner alone, and say what is wrong with them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from testbed.errors import KeyFileError
from testbed.link.keys import CONTROLLER, client_keys, ensure_keys, server_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "a" / "keys", 2)
    return tmp_path / "a" / "keys"


def test_folder_and_secrets_belong_to_their_owner(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {path.name for path in folder.iterdir()}
    assert names == {
        f"{who}.{kind}" for who in ("controller", "air", "node-0", "node-1") for kind in ("public", "secret")
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_permissive_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensure_keys(tmp_path / "keys", 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "node-0.secret").stat().st_mode) == 0o600


def test_keys_are_kept_and_new_nodes_get_theirs(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ensure_keys(folder, 3)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.items() >= before.items()
    assert after.keys() - before.keys() == {"node-2.public", "node-2.secret"}


def test_server_and_clients_know_each_other(folder: Path) -> None:
    controller, air = server_keys(folder, 2), server_keys(folder, 2, "air")
    node = client_keys(folder, 1)
    assert controller.clients == {client_keys(folder, k).own.public: k for k in range(2)}
    assert node.server == controller.own.public
    assert client_keys(folder, 1, "air").server == air.own.public
    assert air.clients == {**controller.clients, controller.own.public: CONTROLLER}
    assert client_keys(folder, CONTROLLER, "air").own == controller.own


def test_secrets_are_not_shown(folder: Path) -> None:
    keys = client_keys(folder, 0)
    assert keys.own.secret.decode() not in repr(keys)


def test_an_agent_needs_its_own_secret_and_the_controller_s_public_key(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o700)
    for name in ("node-1.secret", "controller.public"):
        (there / name).write_bytes((folder / name).read_bytes())
        (there / name).chmod(0o600)
    assert client_keys(there, 1) == client_keys(folder, 1)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    secret = folder / "node-0.secret"
    secret.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*: chmod 600 {secret}"):
        client_keys(folder, 0)


def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)
    for read in (lambda: client_keys(folder, 0), lambda: server_keys(folder, 2), lambda: ensure_keys(folder, 2)):
        with pytest.raises(KeyFileError, match=f"mode 0755.*: chmod 700 {folder}"):
            read()


@pytest.mark.parametrize(
    ("name", "whose"), [("node-0.secret", 0), ("node-0.public", CONTROLLER), ("controller.secret", CONTROLLER)]
)
def test_a_missing_key_is_named(folder: Path, name: str, whose: int) -> None:
    read = partial(server_keys, folder, 2) if whose == CONTROLLER else partial(client_keys, folder, whose)
    (folder / name).unlink()
    with pytest.raises(KeyFileError, match=f"{folder / name} is missing"):
        read()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40, b"~" * 40, b"x" * 39, b"a" * 41])
def test_a_damaged_key_is_named(folder: Path, content: bytes) -> None:
    (folder / "node-0.secret").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"node-0\.secret is damaged"):
        client_keys(folder, 0)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_named_at_once(folder: Path, make: Callable[[Path, int], None]) -> None:
    (folder / "node-0.secret").unlink()
    make(folder / "node-0.secret", 0o600)
    with pytest.raises(KeyFileError, match=r"node-0\.secret (is no file: delete|cannot be read)"):
        client_keys(folder, 0)


def test_two_nodes_with_one_key_are_refused(folder: Path) -> None:
    (folder / "node-1.public").write_bytes((folder / "node-0.public").read_bytes())
    with pytest.raises(KeyFileError, match="the same"):
        server_keys(folder, 2)


def test_a_public_key_that_is_not_the_secret_s_is_refused(folder: Path) -> None:
    (folder / "controller.public").write_bytes((folder / "node-0.public").read_bytes())
    with pytest.raises(KeyFileError, match=r"controller\.public"):
        server_keys(folder, 2)
    with pytest.raises(KeyFileError, match=r"controller\.public"):
        ensure_keys(folder, 2)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match=str(tmp_path / "file")):
        ensure_keys(tmp_path / "file" / "keys", 1)
    with pytest.raises(KeyFileError, match="cannot be made"):
        ensure_keys(Path("/proc/keys"), 1)


def test_several_that_make_keys_at_once_agree(tmp_path: Path) -> None:
    folder, seen = tmp_path / "keys", []
    start = threading.Barrier(6)

    def make() -> None:
        start.wait()
        ensure_keys(folder, 3)
        seen.append((server_keys(folder, 3), *(client_keys(folder, k) for k in range(3))))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert all(keys == seen[0] for keys in seen)
    assert not list(folder.glob(".*"))
