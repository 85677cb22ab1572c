"""Where the page is found: addresses, the token that is kept, the code for phones."""

import os
import socket
import stat

import pytest

import tests.support.web  # noqa: F401  it skips all where it must
from sam_mlx.web import addresses
from sam_mlx.web.addresses import addresses_of, code_of, own_addresses, token_in


def test_addresses(monkeypatch):
    monkeypatch.setattr(addresses, "own_addresses", lambda: ["192.168.0.9", "fd00::9", "mac.local"])
    assert addresses_of("127.0.0.1", 80, "t") == ["http://127.0.0.1:80/?token=t"]
    assert addresses_of("::1", 80, None) == ["http://[::1]:80/"]
    assert addresses_of("0.0.0.0", 80, "t") == [
        "http://127.0.0.1:80/?token=t", "http://192.168.0.9:80/?token=t",
        "http://[fd00::9]:80/?token=t", "http://mac.local:80/?token=t",
    ]  # fmt: skip


def test_addresses_of_this_machine_are_not_its_own_alone(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Mac-of-Ada.local")
    monkeypatch.setattr(addresses, "routed", lambda family, to: "192.168.0.9")

    def found(name, port):
        given = ("127.0.0.1", "10.0.0.7", "fe80::1%en0", "::1")
        return [(None, None, None, "", (address, 0)) for address in given]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert own_addresses() == ["192.168.0.9", "10.0.0.7", "mac-of-ada.local"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, port: (_ for _ in ()).throw(OSError()))
    assert own_addresses() == ["192.168.0.9", "mac-of-ada.local"]


def test_the_token_is_kept_for_the_user_alone(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    token = token_in(folder)
    assert token_in(folder) == token and len(token) == 32
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    os.utime(folder / "token", (0, 0))  # long ago
    assert (newer := token_in(folder)) != token
    (folder / "token").chmod(0o644)  # others may have read it
    assert token_in(folder) != newer
    (folder / "token").write_text("x")
    assert len(token_in(folder)) == 32
    (folder / "token").unlink()
    (folder / "token").symlink_to(tmp_path / "elsewhere")
    assert len(token_in(folder)) == 32 and not (tmp_path / "elsewhere").exists()
    assert token_in(None) != token_in(None)
    folder.joinpath("file").write_text("")
    assert len(token_in(folder / "file")) == 32  # where nothing can be kept


def test_the_code_for_phones():
    segno = pytest.importorskip("segno")
    text = "http://192.168.0.9:8000/?token=abcdefghijklmnopqrstuvwxyz012345"
    lines = code_of(text).splitlines()
    rows = [
        [bool(char in dark) for char in line]
        for line in lines for dark in (("▄", " "), ("▀", " "))
    ]  # fmt: skip
    expected = [list(row) for row in segno.make(text, error="l", micro=False).matrix]
    size = len(expected)
    inner = [[int(dark) for dark in row[2 : 2 + size]] for row in rows[2 : 2 + size]]
    assert inner == [list(row) for row in expected]
    assert len({len(line) for line in lines}) == 1
