"""CURVE key pairs of controller, air and nodes, in a folder that only its owner can read.

    keys/                   0700
      controller.public     known to every agent
      controller.secret     0600
      node-0.public         authorised at the controller
      node-0.secret         0600
      …

An agent on another machine needs its own secret and the public key of whom it talks to.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from testbed.errors import KeyFileError

CONTROLLER = -1
"""Client index of the controller where it is a client itself, e.g. of the air."""
_KEY_BYTES = 40


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, each 40 Z85 characters."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class ServerKeys:
    """The server's own pair, and which client index each authorised public key stands for."""

    own: KeyPair
    clients: Mapping[bytes, int]


@dataclass(frozen=True)
class ClientKeys:
    """The client's own pair, and the public key of the server it talks to."""

    own: KeyPair
    server: bytes


def ensure_keys(folder: Path, nodes: int, servers: Sequence[str] = ("controller", "air")) -> None:
    """Make whatever pair is missing in `folder` for `servers` and nodes 0…`nodes`−1; keep the others.

    Raises:
        KeyFileError: the folder cannot be written, or belongs or is open to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"key folder {folder} cannot be made ({error.strerror}): choose another") from error
    _refuse_open_folder(folder)
    for name in (*servers, *(f"node-{k}" for k in range(nodes))):
        if not (folder / f"{name}.secret").exists():
            _public, secret = zmq.curve_keypair()
            _write_once(folder / f"{name}.secret", secret)
        _write_once(folder / f"{name}.public", _pair(folder, name).public)


def server_keys(folder: Path, nodes: int, server: str = "controller") -> ServerKeys:
    """Keys for a server that nodes 0…`nodes`−1 may join, and the controller where it is not the server.

    Raises:
        KeyFileError: a key is missing, damaged, or readable by others.
    """
    clients = {_read_public(folder, f"node-{k}"): k for k in range(nodes)}
    if server != "controller":
        clients[_read_public(folder, "controller")] = CONTROLLER
    if len(clients) < nodes + (server != "controller"):
        raise KeyFileError(f"two of the public keys in {folder} are the same: delete them, they are made anew")
    return ServerKeys(_pair(folder, server), clients)


def guard_keys(folder: Path, index: int) -> ServerKeys:
    """Keys for the guard of node `index`, who listens to the controller alone.

    Raises:
        KeyFileError: a key is missing, damaged, or readable by others.
    """
    return ServerKeys(_pair(folder, f"node-{index}"), {_read_public(folder, "controller"): CONTROLLER})


def client_keys(folder: Path, index: int, server: str = "controller") -> ClientKeys:
    """Keys for node `index`, or `CONTROLLER`, to talk to `server`.

    Raises:
        KeyFileError: a key is missing, damaged, or readable by others.
    """
    name = "controller" if index == CONTROLLER else f"node-{index}"
    return ClientKeys(_pair(folder, name), _read_public(folder, server))


def _pair(folder: Path, name: str) -> KeyPair:
    _refuse_open_folder(folder)
    secret = _read_secret(folder, name)
    pair = KeyPair(zmq.curve_public(secret), secret)
    path = folder / f"{name}.public"
    if path.exists() and _read_public(folder, name) != pair.public:
        raise KeyFileError(f"key {path} does not belong to {name}.secret: delete it, it is made anew")
    return pair


def _read_secret(folder: Path, name: str) -> bytes:
    return _read(folder / f"{name}.secret", private=True)


def _read_public(folder: Path, name: str) -> bytes:
    return _read(folder / f"{name}.public", private=False)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"key {path} is no file: delete the pair, it is made anew")
            if private:
                _refuse_open(path, status, "600")
            key = file.read(_KEY_BYTES + 2).strip()
        zmq.curve_public(key)  # refuses whatever is not 40 characters of Z85
    except FileNotFoundError as error:
        raise KeyFileError(f"key {path} is missing: run the controller once, or copy the file here") from error
    except OSError as error:
        raise KeyFileError(f"key {path} cannot be read ({error.strerror}): make it yours") from error
    except (ValueError, zmq.ZMQError) as error:
        raise KeyFileError(f"key {path} is damaged: delete the pair, it is made anew") from error
    return key


def _at_once(path: str, flags: int) -> int:
    """Opens without waiting for somebody to write, as a pipe in the place of a key would have it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse_open_folder(folder: Path) -> None:
    try:
        _refuse_open(folder, folder.stat(), "700")
    except OSError as error:
        raise KeyFileError(
            f"key folder {folder} cannot be read ({error.strerror}): run the controller once, or copy the keys there"
        ) from error


def _refuse_open(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): chmod {mode} {path}")
    if status.st_uid != os.geteuid():
        raise KeyFileError(f"{path} belongs to user {status.st_uid}, not to you: chown it or choose another")


def _write_once(path: Path, key: bytes) -> None:
    """Write `key` whole, or leave the file that somebody else has written meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key + b"\n")
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        return
    except OSError as error:
        raise KeyFileError(f"key {path} cannot be written ({error.strerror}): choose another folder") from error
