"""``sam-mlx serve``: names of models, the token, the first screen, and the process."""

import re
import signal
import subprocess
import sys

import pytest

from tests.support.serve import coins  # isort: skip  first: it skips all where it must

import httpx

from sam_mlx.cli import main
from sam_mlx.commands.serve import TOOLS, check_token, named
from sam_mlx.serve.tools import NAMES


def test_names_of_models(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vit_b.pth").write_bytes(b"")
    first, second = (str(tmp_path / folder / "vit_b.pth") for folder in ("a", "b"))
    assert named([first, second, first, "facebook/sam-vit-base"]) == {
        "vit_b": first, "vit_b-2": second, "facebook/sam-vit-base": "facebook/sam-vit-base",
    }  # fmt: skip
    assert named(["nano"]) == {"nano": "nano"}


@pytest.mark.parametrize("token", ["short", "with a space", "slash/slash", "ünïcödé-ü", ""])
def test_tokens_that_not_every_tool_can_send(token):
    with pytest.raises(ValueError, match="8 characters"):
        check_token(token)
    check_token("fine-Token_1")
    check_token(None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--label-studio", "localhost:8080"], "is not an address"),
        (["--allow-media", "s3.example"], "is not an address"),
        (["--token", "x"], "8 characters"),
        (["--model", "nothing-here.pth"], "nothing-here.pth"),
        (["--train-into", "x", "--train-iters", "0"], "--train-iters"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, said, capsys):
    assert main(["serve", "--port", "0", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sam-mlx serve: ") and said in line


def test_the_tools_of_the_shell_are_those_of_the_server():
    assert TOOLS == NAMES


TYPED = {
    "X-AnyLabeling": "Remote-Server", "Label Studio": "/token/t0ken-t0ken",
    "QuPath": "/token/t0ken-t0ken/sam/", "your programs": "v1/segment",
}  # fmt: skip


@pytest.mark.slow
def test_the_process():
    """Its first lines say what to type; it answers at that address, and ends on SIGTERM."""
    command = [sys.executable, "-m", "sam_mlx", "serve", "--port", "0", "--token", "t0ken-t0ken"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        lines = [server.stdout.readline().rstrip() for _ in range(7)]
        address, token = re.fullmatch(r"(http://\S+/)  token: (\S+)", lines[0]).groups()
        assert token == "t0ken-t0ken" and lines[1] == "models: nano"
        for title, said in TYPED.items():
            assert any(line.startswith(title) and said in line for line in lines), lines
        assert httpx.get(f"{address}health").status_code == 403
        body = {"picture": coins(), "points": [[138, 53]], "labels": [1]}
        answer = httpx.post(
            f"{address}v1/segment", json=body, headers={"Token": token}, timeout=120
        )
        assert answer.status_code == 200 and len(answer.json()["masks"]) == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, 143, -15)
