"""``python -m convert --upload-repo`` and the card it writes, on stand-ins for the hub."""

import hashlib
import http.server
import json
import threading

import huggingface_hub
import pytest
from huggingface_hub import ModelCard, constants
from PIL import Image

torch = pytest.importorskip("torch")

from convert import __main__ as convert
from sam_mlx import Sam
from tests.support import models
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "sam.pth"
    torch.save(small[0].state_dict(), path)
    return path


def run(*arguments) -> int:
    return convert.main([str(a) for a in arguments])


class Hub:
    """The called part of ``HfApi``: repositories are dictionaries of files."""

    def __init__(self, **repositories: dict[str, bytes]):
        self.repositories = {name.replace("_", "/"): dict(f) for name, f in repositories.items()}

    def create_repo(self, repo_id, exist_ok=False):
        assert exist_ok
        self.repositories.setdefault(repo_id, {})
        return f"https://huggingface.co/{repo_id}"

    def file_exists(self, repo_id, name):
        return name in self.repositories[repo_id]

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns, commit_message):
        assert commit_message
        for path in folder_path.iterdir():
            if path.name not in (ignore_patterns or ()):
                self.repositories[repo_id][path.name] = path.read_bytes()


@pytest.fixture(autouse=True)
def logged_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_standin")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(monkeypatch):
    def of(**repositories) -> Hub:
        hub = Hub(**repositories)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        return hub

    return of


def test_a_folder_is_sent_unchanged(hub, checkpoint, small, tmp_path, capsys):
    there = hub()
    assert run(checkpoint, tmp_path / "out", "--upload-repo", "me/sam") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "https://huggingface.co/me/sam"
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert there.repositories == {"me/sam": written}
    assert written.keys() == {"config.json", "model.safetensors", "README.md"}
    equal(Sam.from_pretrained(tmp_path / "out"), small[1])
    assert 'from_pretrained("me/sam")' in (tmp_path / "out" / "README.md").read_text()


def test_an_existing_card_is_kept(hub, checkpoint, tmp_path, capsys):
    there = hub(me_sam={"README.md": b"by hand", "model.safetensors": b"old"})
    assert run(checkpoint, tmp_path / "out", "--upload-repo", "me/sam") == 0
    assert "me/sam has a README.md, which is kept" in capsys.readouterr().out
    files = there.repositories["me/sam"]
    assert files["README.md"] == b"by hand"
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()


def refused(capsys, *arguments) -> str:
    assert run(*arguments) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize("name", ["sam", "", "a/b/c", "a b/c", "a/b--c", "-a/b", "a/b.", "../b"])
def test_the_name_is_checked_before_any_work(hub, name, tmp_path, capsys):
    there = hub()
    message = refused(capsys, tmp_path / "none.pth", tmp_path / "out", f"--upload-repo={name}")
    assert f"{name!r} is not the name of a hub repository, owner/name" in message
    assert there.repositories == {} and list(tmp_path.iterdir()) == []


def test_not_logged_in_or_offline_is_reported_before_any_work(tmp_path, capsys, monkeypatch):
    arguments = tmp_path / "none.pth", tmp_path / "out", "--upload-repo", "me/sam"
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "not logged in, as me/sam requires: hf auth login" in refused(capsys, *arguments)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(capsys, *arguments)


@pytest.fixture
def server(monkeypatch):
    """Answers every request with one status; the hub's own client talks to it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 500

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(self.status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_HEAD = do_POST

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield Handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the hub rejects the token: hf auth login"),
        (403, "the token does not allow writing there"),
        (418, "Client error '418"),
    ],
)
def test_a_refusal_by_the_hub_is_one_line(server, checkpoint, tmp_path, capsys, status, message):
    server.status = status
    out = tmp_path / "out"
    error = refused(capsys, checkpoint, out, "--upload-repo", "me/sam")
    assert f"{out} was written, but not sent to me/sam: {message}" in error
    assert error.rstrip().endswith(f". To send it later: hf upload me/sam {out}")
    assert Sam.from_pretrained(out).config.encoder == models.SMALL.encoder


def test_no_network(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = refused(capsys, checkpoint, tmp_path / "out", "--upload-repo", "me/sam")
    assert "the hub cannot be reached" in error and (tmp_path / "out").is_dir()


def test_the_card_has_the_measured_table(checkpoint, photograph, tmp_path):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    out = tmp_path / "out"
    given = ["--base-model", "me/finetune", "--license", "mit"]
    assert run(checkpoint, out, "--check", tmp_path / "photograph.png", *given) == 0
    card = ModelCard((out / "README.md").read_text())
    assert (card.data.base_model, card.data.license) == ("me/finetune", "mit")
    rows = [line for line in card.text.splitlines() if line.startswith("| ")]
    stages = json.loads((out / "parity.json").read_text())["stages"]
    assert len(rows) == 1 + len(stages)
    assert "| embedding |" in card.text and "absolute 5e-05 |" in card.text


def test_the_card_of_a_published_file_names_its_base(small, tmp_path, monkeypatch):
    file = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(small[0].state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(convert.OFFICIAL, file.name, digest)
    assert run(file, tmp_path / "out") == 0
    card = ModelCard((tmp_path / "out" / "README.md").read_text())
    assert (card.data.base_model, card.data.license) == ("facebook/sam-vit-base", "apache-2.0")


@pytest.mark.parametrize("values", [["--base-model", "sam"], ["--license", "MIT License"]])
def test_invalid_names_are_refused(checkpoint, tmp_path, capsys, values):
    assert "expected" in refused(capsys, checkpoint, tmp_path / "out", *values)
    assert list(tmp_path.iterdir()) == []
