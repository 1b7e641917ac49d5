"""Writing a board: a real directory as its drive, and its shell behind a local sshd with keys of its own."""

from __future__ import annotations

import getpass
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from testbed.errors import FirmwareError
from testbed.firmware.apply import apply, diff, target_of
from testbed.firmware.board import Board
from testbed.firmware.config_txt import KEYS, parse, render
from testbed.firmware.drive import Drive
from testbed.firmware.ssh import Ssh
from tests.reference.firmware_shell import evaluated
from tests.unit.firmware import boards

SERIAL = boards.SERIAL
FACTORY = {
    "hostname": "pluto", "ipaddr": "192.168.2.1", "ipaddr_host": "192.168.2.10", "netmask": "255.255.255.0",
    "netmask_eth": "255.255.255.0", "udc_handle_suspend": "0", "usb_ethernet_mode": "rndis",
}  # fmt: skip
SETTINGS = (
    '[wlan]\nname = "lab net"\naddress = "10.1.0.7"\n[system]\nxo_correction_hz = 40000120\n'
    '[uboot]\nattr_name = "compatible"\nattr_val = "ad9361"\nad936x_ext_refclk_override = "<40000000>"\n'
)
PASSPHRASE = "correct-horse_9%"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return boards.board(tmp_path, SETTINGS, subnet="192.168.7")


# The drive ---------------------------------------------------------------------------------------------


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    folder = tmp_path / "PlutoSDR"
    folder.mkdir()
    (folder / "config.txt").write_bytes(render(dict.fromkeys(KEYS, "") | FACTORY, "Analog Devices PlutoSDR"))
    (folder / "info.html").write_text(f"<html><td>Serial</td><td>{SERIAL}</td></html>", encoding="utf-8")
    return Drive(folder)


def test_the_board_finds_every_value_on_its_drive(board: Board, drive: Drive, tmp_path: Path) -> None:
    outcome = apply(board, drive, passphrase=PASSPHRASE)
    assert outcome.written
    assert {change.name for change in outcome.changes} == {
        "hostname", "ipaddr", "ipaddr_host", "ssid_wlan", "pwd_wlan", "ipaddr_wlan", "xo_correction",
    }  # fmt: skip
    assert "eject" in outcome.notes[-1]
    assert "attr_name, attr_val, ad936x_ext_refclk_override are not written" in outcome.notes[0]
    data = (drive.folder / "config.txt").read_bytes()
    (tmp_path / "board").mkdir()
    assert parse(data) == evaluated(data, tmp_path / "board") == board.config_values(PASSPHRASE)
    assert sorted(path.name for path in drive.folder.iterdir()) == ["config.txt", "info.html"]


def test_the_second_time_there_is_nothing_to_do(board: Board, drive: Drive) -> None:
    apply(board, drive, passphrase=PASSPHRASE)
    before = (drive.folder / "config.txt").stat()
    outcome = apply(board, drive, passphrase=PASSPHRASE)
    assert (outcome.changes, outcome.written) == ((), False)
    assert (drive.folder / "config.txt").stat() == before
    assert diff(board, drive) == ()


def test_a_dry_run_tells_and_touches_nothing(board: Board, drive: Drive) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in drive.folder.iterdir()}
    outcome = apply(board, drive, passphrase=PASSPHRASE, dry_run=True)
    assert (len(outcome.changes), outcome.written, outcome.notes[-1]) == (7, False, "dry run: nothing was written")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in drive.folder.iterdir()} == before
    lines = [str(change) for change in outcome.changes]
    assert "xo_correction: (none) → 40000120" in lines
    assert "pwd_wlan: (none) → (hidden)" in lines


def test_an_action_left_on_the_drive_does_not_run_again(board: Board, drive: Drive) -> None:
    file = drive.folder / "config.txt"
    file.write_bytes(file.read_bytes().replace(b"dfu = \r\n", b"dfu = 1\r\n"))
    apply(board, drive, passphrase=PASSPHRASE)
    assert parse(file.read_bytes())["dfu"] == "0"


def spoil_serial(drive: Drive) -> None:
    (drive.folder / "info.html").write_text(SERIAL.replace("1", "2"), encoding="utf-8")


def remove_page(drive: Drive) -> None:
    (drive.folder / "info.html").unlink()


def remove_config(drive: Drive) -> None:
    (drive.folder / "config.txt").unlink()


def link_config(drive: Drive) -> None:
    (drive.folder / "config.txt").rename(drive.folder / "elsewhere")
    (drive.folder / "config.txt").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_serial, f"info.html does not name serial {SERIAL}: this is the drive of another board"),
        (remove_page, "info.html is missing: cannot tell whose drive"),
        (remove_config, "is not the drive of a Pluto"),
        (link_config, "is not the drive of a Pluto"),
    ],
)
def test_only_the_drive_of_that_board_is_written(
    spoil: Callable[[Drive], None], message: str, board: Board, drive: Drive
) -> None:
    spoil(drive)
    before = {path: path.read_bytes() for path in drive.folder.iterdir()}
    with pytest.raises(FirmwareError, match=message):
        apply(board, drive, passphrase=PASSPHRASE)
    assert {path: path.read_bytes() for path in drive.folder.iterdir()} == before


def test_a_full_drive_keeps_the_old_file(board: Board, drive: Drive) -> None:
    before = (drive.folder / "config.txt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(FirmwareError, match=r"config\.txt cannot be written: .*; the old file is unchanged"):
            apply(board, drive, passphrase=PASSPHRASE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (drive.folder / "config.txt").read_bytes() == before
    assert sorted(path.name for path in drive.folder.iterdir()) == ["config.txt", "info.html"]


def test_a_refusal_of_the_board_is_told(board: Board, drive: Drive) -> None:
    (drive.folder / "FAILED_INVALID_UBOOT_ENV").touch()
    assert "the board refused an earlier file" in apply(board, drive, passphrase=PASSPHRASE).notes[0]


def test_placeholders_and_forgotten_passphrases_are_refused(board: Board, drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="wants a passphrase"):
        apply(board, drive)
    example = boards.board(tmp_path, name="pluto-b", serial="0" * 33 + "1")
    with pytest.raises(FirmwareError, match="is a placeholder"):
        apply(example, drive)
    assert diff(example, drive)[0].new == "pluto-b"


# SSH ---------------------------------------------------------------------------------------------------

# The board's own commands, on a text file: `fw_setenv -s` of U-Boot takes a name, blanks and the rest of the line, and
# a name alone deletes.
COMMANDS = {
    "fw_printenv": "exec cat {env}",
    "iio_attr": '[ "$*" = "-C hw_serial" ] && echo "hw_serial: {serial}"',
    "fw_setenv": """
echo "$*" >>{env}.calls
[ "$1" = -s ] && [ -f "$2" ] || exit 64
while read -r name value; do
  case $name in ''|'#'*) continue ;; esac
  grep -v "^$name=" {env} >{env}.new
  [ -z "$value" ] || printf '%s=%s\\n' "$name" "$value" >>{env}.new
  mv {env}.new {env}
done <"$2"
""",
}
ENVIRONMENT = "arch=arm\nqspiboot=run read_sf && run adi_loadvals\nmode=1r1t\n"
SSHD_CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH={folder}/bin:/usr/bin:/bin
"""


@dataclass(frozen=True)
class Host:
    """A board's shell behind a local sshd."""

    folder: Path
    target: Ssh

    @property
    def environment(self) -> Path:
        return self.folder / "environment"

    @property
    def calls(self) -> list[str]:
        file = self.folder / "environment.calls"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def command(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text("#!/bin/sh\n" + script.format(env=self.environment, serial=SERIAL) + "\n", encoding="utf-8")
        path.chmod(0o755)


def find_sshd() -> str:
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh") is None:
        reason = "sshd or ssh is missing: apt-get install openssh-server openssh-client"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return sshd


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    sshd = find_sshd()
    folder = tmp_path / "host"
    (folder / "bin").mkdir(parents=True)
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    port = free_port()
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder), encoding="utf-8")
    target = Ssh("127.0.0.1", port, getpass.getuser(), folder / "user_key", folder / "known_hosts", timeout_s=30)
    made = Host(folder, target)
    made.environment.write_text(ENVIRONMENT, encoding="utf-8")
    for name, script in COMMANDS.items():
        made.command(name, script)
    with folder_for_root(), running(sshd, folder, port):
        yield made


@contextmanager
def folder_for_root() -> Iterator[None]:
    """The empty folder that an sshd of root demands; as it was afterwards."""
    folder = Path("/run/sshd")
    missing = os.geteuid() == 0 and not folder.exists()
    if missing:
        folder.mkdir(mode=0o755)
    yield
    if missing:
        folder.rmdir()


@contextmanager
def running(sshd: str, folder: Path, port: int) -> Iterator[None]:
    """sshd in the foreground, with everything it started gone afterwards."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=stderr)
    try:
        assert listening(process, port), f"sshd did not start: {log.read_text(encoding='utf-8')}"
        yield
    finally:
        sessions = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.kill()
        process.terminate()
        process.wait(10)


def listening(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def variables(host: Host) -> dict[str, str]:
    lines = host.environment.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_environment_holds_every_value_and_keeps_the_rest(board: Board, host: Host) -> None:
    outcome = apply(board, host.target, passphrase=PASSPHRASE)
    assert outcome.written
    assert "restart" in outcome.notes[-1]
    expected = {name: value for name, value in board.config_values(PASSPHRASE).items() if value and name in FACTORY}
    assert variables(host) == {
        **dict(line.split("=", 1) for line in ENVIRONMENT.splitlines()), **expected,
        "ssid_wlan": "lab net", "pwd_wlan": PASSPHRASE, "ipaddr_wlan": "10.1.0.7", "xo_correction": "40000120",
        "attr_name": "compatible", "attr_val": "ad9361", "ad936x_ext_refclk_override": "<40000000>",
    }  # fmt: skip
    assert not list(Path("/tmp").glob("testbed-firmware.*"))


def test_one_write_and_then_none(board: Board, host: Host) -> None:
    dry = apply(board, host.target, passphrase=PASSPHRASE, dry_run=True)
    assert (len(dry.changes), dry.written, host.calls) == (14, False, [])
    assert apply(board, host.target, passphrase=PASSPHRASE).changes == dry.changes
    assert not apply(board, host.target, passphrase=PASSPHRASE).written
    assert len(host.calls) == 1
    assert diff(board, host.target) == ()
    assert [str(change) for change in diff(board, host.target, "another-one")] == ["pwd_wlan: (hidden) → (hidden)"]


def test_an_emptied_key_deletes_its_variable(board: Board, host: Host, tmp_path: Path) -> None:
    apply(board, host.target, passphrase=PASSPHRASE)
    apply(boards.board(tmp_path, subnet="192.168.7"), host.target)
    assert not variables(host).keys() & {"ssid_wlan", "pwd_wlan", "xo_correction"}
    assert variables(host)["attr_val"] == "ad9361"


def test_a_write_that_does_not_hold_is_found(board: Board, host: Host) -> None:
    host.command("fw_setenv", COMMANDS["fw_setenv"].replace("''|'#'*)", "''|'#'*|xo_correction)"))
    with pytest.raises(FirmwareError, match=r"holds something else: xo_correction: \(none\) → 40000120"):
        apply(board, host.target, passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    ("name", "script", "message"),
    [
        ("fw_setenv", "echo 'flash is locked' >&2; exit 1", "answered 1: flash is locked"),
        ("fw_printenv", "exit 127", "Is it a Pluto"),
        ("fw_printenv", "echo mode=1r1t", "no valid U-Boot environment"),
        ("iio_attr", "echo 'hw_serial: 99'", f"has serial 99, not {SERIAL}: another board"),
        ("iio_attr", "true", r"has serial \(none\), not"),
    ],
)
def test_what_goes_wrong_there_is_told_here(name: str, script: str, message: str, board: Board, host: Host) -> None:
    host.command(name, script)
    with pytest.raises(FirmwareError, match=message):
        apply(board, host.target, passphrase=PASSPHRASE)
    assert host.environment.read_text(encoding="utf-8") == ENVIRONMENT


def test_a_board_that_hangs_is_given_up(board: Board, host: Host) -> None:
    host.command("fw_printenv", "exec sleep 60")
    with pytest.raises(FirmwareError, match=r"no answer within 3\.0 s"):
        diff(board, replace(host.target, timeout_s=3.0))


def test_strangers_are_refused(board: Board, host: Host) -> None:
    apply(board, host.target, passphrase=PASSPHRASE)
    known = host.target.known_hosts
    assert known is not None
    other = host.folder / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    with pytest.raises(FirmwareError, match=r"cannot be reached: .*Permission denied"):
        diff(board, replace(host.target, identity=other))
    kind, key = other.with_suffix(".pub").read_text(encoding="utf-8").split()[:2]
    known.write_text(f"[127.0.0.1]:{host.target.port} {kind} {key}\n", encoding="utf-8")
    with pytest.raises(FirmwareError, match=r"(?s)cannot be reached: .*verification failed"):
        diff(board, host.target)


def test_nobody_there(board: Board, tmp_path: Path) -> None:
    find_sshd()
    with pytest.raises(FirmwareError, match=r"127\.0\.0\.1:\d+ cannot be reached: .*refused"):
        diff(board, Ssh("127.0.0.1", free_port(), known_hosts=tmp_path / "known_hosts"))


@pytest.mark.parametrize("bad", [{"host": "-oProxyCommand=x"}, {"host": "a b"}, {"user": "$(id)"}, {"port": 0}])
def test_hosts_are_not_options(bad: dict[str, object]) -> None:
    with pytest.raises(FirmwareError, match=r"ssh (host|user|port) = "):
        Ssh(**({"host": "pluto"} | bad))  # type: ignore[arg-type]


def test_the_way_follows_from_what_is_given(board: Board, tmp_path: Path) -> None:
    assert target_of(board, drive=tmp_path) == Drive(tmp_path)
    assert target_of(board) == Ssh("192.168.7.1")
    assert target_of(board, host="pluto.lab", port=2222, ask=True) == Ssh("pluto.lab", 2222, ask=True)
