"""Names of the Hugging Face hub: a stand-in of it on this machine, as there is no network for tests."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from pretrained.folders import write_folder
from tlab import Checkpoint
from tlab.cli.commands import main
from tlab.pretrained import reading
from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.hub import is_hub_name
from tlab.pretrained.reading import read_pretrained

COMMIT = "c0ffee" * 6 + "beef"


class StandIn(BaseHTTPRequestHandler):
    """Gives what the hub gives for the folder `server.folder`, which it calls lab/tiny, and nothing else."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        folder, path = self.server.folder, self.path.partition("?")[0]
        self.server.asked.append((self.command, path))
        if path.startswith("/api/models/lab/tiny"):
            files = [
                {"rfilename": file.name, "size": file.stat().st_size, "blobId": "0" * 40}
                for file in sorted(folder.iterdir())
            ]
            return self.give(json.dumps({"_id": "1", "id": "lab/tiny", "sha": COMMIT, "siblings": files}).encode())
        if not path.startswith("/lab/tiny/resolve/"):
            return self.refuse(404, "RepoNotFound")
        if self.server.gated:
            return self.refuse(403, "GatedRepo")
        return self.give((folder / Path(path).name).read_bytes())

    def give(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def point_at(address, monkeypatch):
    """As HF_ENDPOINT does, which the library reads once."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.folder, server.asked, server.gated = tmp_path / "theirs", [], False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    point_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files_given(hub):
    return {Path(path).name for command, path in hub.asked if command == "GET" and "/resolve/" in path}


@pytest.mark.parametrize("shards", [1, 3])
def test_a_model_of_the_hub_is_downloaded_and_read_and_nothing_that_is_not_needed(shards, hub, rng, capsys):
    config, weights = write_folder(hub.folder, "llama", rng, shards=shards)
    (hub.folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (hub.folder / "README.md").write_text("words")
    assert main(["import", "lab/tiny", "--out", "run"]) == 0
    said = capsys.readouterr().out
    size = sum(path.stat().st_size for path in hub.folder.glob("*.safetensors")) / 1e6
    assert f"Downloading {size:,.1f} MB of lab/tiny, {shards} file" in said
    checkpoint = Checkpoint.load("run")
    assert checkpoint.model_config == config
    assert all(np.array_equal(checkpoint.weights[name], weights[name]) for name in weights)
    assert f"lab/tiny of the Hugging Face hub, revision {COMMIT[:12]}" in checkpoint.corpus["origin"]
    names = {path.name for path in hub.folder.iterdir()} - {"pytorch_model.bin", "README.md"}
    assert files_given(hub) == names


def test_what_was_downloaded_before_is_not_downloaded_again_and_needs_no_network(hub, rng, monkeypatch):
    write_folder(hub.folder, "gpt2", rng)
    first, told = read_pretrained("lab/tiny"), []
    hub.asked.clear()
    read_pretrained("lab/tiny", tell=told.append)
    assert not files_given(hub) and not [words for words in told if words.startswith("Downloading")]
    told.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = read_pretrained("lab/tiny", tell=told.append)
    assert again.config == first.config and again.origin == first.origin and "cannot be reached" in told[0]


def test_a_model_that_cannot_be_represented_is_refused_before_its_weights_are_downloaded(hub, rng):
    write_folder(hub.folder, "llama", rng, hidden_act="mish")
    with pytest.raises(PretrainedError, match="mish"):
        read_pretrained("lab/tiny")
    assert files_given(hub) == {"config.json"}


def test_a_model_that_the_machine_cannot_hold_is_refused_before_its_weights_are_downloaded(hub, rng, monkeypatch):
    write_folder(hub.folder, "llama", rng)
    monkeypatch.setattr(reading, "total_memory", lambda: 1000)
    with pytest.raises(PretrainedError, match="GiB of memory"):
        read_pretrained("lab/tiny")
    assert files_given(hub) == {"config.json"}


def refusal(capsys, name):
    assert main(["import", name, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not Path("run").exists()
    return error


def test_a_name_that_is_none_a_gated_model_and_a_missing_network_are_told(hub, rng, capsys, monkeypatch):
    write_folder(hub.folder, "llama", rng)
    assert "the hub has no model of that name" in refusal(capsys, "lab/another")
    hub.gated = True
    assert "is gated" in refusal(capsys, "lab/tiny")
    point_at("http://127.0.0.1:9", monkeypatch)
    assert "the hub cannot be reached" in refusal(capsys, "lab/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "the hub cannot be reached" in refusal(capsys, "lab/tiny")


def test_a_model_without_safetensors_or_config_is_told(hub, rng, capsys):
    write_folder(hub.folder, "llama", rng)
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    assert "pickles (.bin)" in refusal(capsys, "lab/tiny")
    (hub.folder / "config.json").unlink()
    assert "no config.json" in refusal(capsys, "lab/tiny")


def test_a_missing_folder_is_not_asked_for_on_the_hub(hub, capsys):
    Path("models").mkdir()
    for place in ("models/missing", "missing", "./models", "../models/x", "a/b/c"):
        assert not is_hub_name(place)
    assert "is not there" in refusal(capsys, "models/missing") and not hub.asked
