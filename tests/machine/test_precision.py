"""Where MLX computes float32 products in TF32, and what users are told about their machine."""

import platform
import warnings
from importlib import import_module

import mlx.core as mx
import pytest

from sam_mlx import Sam
from sam_mlx.cli import main
from sam_mlx.export import export
from sam_mlx.machine import advice, mac, precision
from sam_mlx.machine.precision import has_units, number, version_of

check, manifest = (import_module(f"sam_mlx.export.{name}") for name in ("check", "manifest"))
M5, M4, PHONE = ({"architecture": f"applegpu_{name}"} for name in ("g17s", "g16s", "g17p"))


@pytest.mark.parametrize(
    ("kind", "info", "macos", "expected"),
    [
        ("metal", M5, "26.2", True),
        ("metal", M5, "26.3.1", True),
        ("metal", M5, "26.1", False),  # the system lacks the units' instructions
        ("metal", M4, "26.3", False),
        ("metal", PHONE, "26.3", False),
        ("metal", {"architecture": "applegpu_g18p"}, "26.3", True),
        ("metal", {"architecture": "applegpu_g18g"}, "27.0", True),
        ("metal", {}, "26.3", False),
        ("cuda", {"compute_capability_major": 9}, "", True),
        ("cuda", {"compute_capability_major": 7}, "", False),
        ("cuda", {}, "", True),
    ],
)
def test_devices_with_units_for_tf32(kind, info, macos, expected):
    assert has_units(kind, info, macos) == expected


def test_numbers_as_mlx_reads_them():
    assert [number(text) for text in ("0", " 0", "1", "-1", "2x", "", "off")] == [
        0,
        0,
        1,
        -1,
        2,
        0,
        0,
    ]
    assert version_of("0.32.1.dev7") == (0, 32, 1)
    assert version_of("26.2") < version_of("26.2.1") and version_of("") == ()


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("1", True), ("0", False)])
def test_the_environment_decides(value, expected, monkeypatch):
    """On a GPU with the units. The variable is read once."""
    monkeypatch.delenv(precision.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(precision.VARIABLE, value)
    on_an_m5(monkeypatch)
    assert precision.uses_tf32() == expected
    monkeypatch.setenv(precision.VARIABLE, "0")
    assert precision.uses_tf32() == expected


def test_a_cpu_never_does(monkeypatch):
    monkeypatch.setattr(precision, "is_allowed", lambda: True)
    monkeypatch.setattr(precision, "device_kind", lambda: "cpu")
    assert not precision.uses_tf32()


def on_an_m5(monkeypatch) -> None:
    precision.is_allowed.cache_clear()
    monkeypatch.setattr(precision, "device_kind", lambda: "metal")
    monkeypatch.setattr(mx, "device_info", lambda *_: M5)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("26.2", ("", "", ""), "arm64"))


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    """As if the process had not been told anything yet; and what was read of the environment."""
    monkeypatch.setattr(advice, "_said", set())
    read = precision.is_allowed
    yield
    read.cache_clear()


def warnings_of(work) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [str(w.message) for w in caught]


def test_a_float32_model_on_an_m5_warns_once(monkeypatch):
    monkeypatch.setattr(advice, "uses_tf32", lambda: True)
    (text,) = warnings_of(lambda: Sam.from_pretrained("nano"))
    assert "dtype='float16'" in text and "MLX_ENABLE_TF32=0" in text
    assert warnings_of(lambda: Sam.from_pretrained("nano")) == []


def test_a_half_precision_model_does_not(monkeypatch):
    monkeypatch.setattr(advice, "uses_tf32", lambda: True)
    monkeypatch.setattr(advice, "is_slow", lambda dtype: False)
    assert warnings_of(lambda: Sam.from_pretrained("nano", dtype="float16")) == []


@pytest.mark.parametrize(("here", "count"), [("0.31.1", 1), ("0.32.1", 0), ("0.32.10", 0)])
def test_an_old_mlx_warns_once(here, count, monkeypatch):
    monkeypatch.setattr(advice, "version", lambda name: here)
    found = warnings_of(lambda: [Sam.from_pretrained("nano") for _ in range(2)])
    assert len(found) == count
    assert all(text.startswith(f"MLX {here} has faults") and "0.32.1" in text for text in found)


@pytest.mark.slow
def test_but_not_in_an_export(tmp_path, monkeypatch):
    """Apps contain an older MLX, whose files only it can write."""
    monkeypatch.setattr(advice, "version", lambda name: "0.31.1")
    assert warnings_of(lambda: export("nano", tmp_path / "out", points=1)) == []


def test_bounds_of_an_export(monkeypatch):
    """Wider only where TF32 is at work, on whatever device."""
    monkeypatch.setattr(check, "uses_tf32", lambda: False)
    assert [check.tolerance(d) for d in check.TOLERANCE] == list(check.TOLERANCE.values())
    monkeypatch.setattr(check, "uses_tf32", lambda: True)
    assert check.tolerance(mx.float32) == check.tolerance(mx.float16) == 1e-2
    assert check.tolerance(mx.bfloat16) == 1e-1


@pytest.mark.slow
@pytest.mark.parametrize("acts", [False, True])
def test_an_export_says_where_its_bounds_are_wider(acts, tmp_path, monkeypatch, capsys):
    for module in (check, manifest):
        monkeypatch.setattr(module, "uses_tf32", lambda: acts)
    assert main(["export", "nano", str(tmp_path / "out"), "--points", "1"]) == 0
    said = capsys.readouterr().out
    assert ("compared with a bound of 0.01. With MLX_ENABLE_TF32=0" in said) == acts


def test_an_x86_python_on_a_mac_is_refused():
    with pytest.raises(ImportError, match="Apple silicon") as error:
        mac.check("darwin", "x86_64")
    assert "Rosetta" in str(error.value) and "\n" not in str(error.value)
    for system, machine in (("darwin", "arm64"), ("linux", "x86_64"), ("linux", "aarch64")):
        mac.check(system, machine)
