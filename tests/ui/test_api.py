"""What programs may ask: three bounded functions, documented, and nothing else."""

import gc
import json
import urllib.request
import warnings

import numpy as np
import pytest

from support import GRADIO
from tlab.ui import api
from tlab.ui.app import build, launch_options
from tlab.ui.runs.limits import PUBLIC
from tlab.ui.runs.manager import Runs

pytestmark = GRADIO


@pytest.fixture(scope="module")
def url():
    runs = Runs(PUBLIC, slots=1)
    page = build(runs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Uvicorn's websockets, which Gradio loads and never uses
        _, url, _ = page.launch(**launch_options(page), prevent_thread_lock=True, quiet=True)
    yield url.rstrip("/")
    page.close(verbose=False)
    runs.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def client(url):
    from gradio_client import Client

    client = Client(url, verbose=False)
    yield client
    client.close()


def test_three_functions_are_public_with_types_and_words_and_training_is_not(client):
    told = client.view_api(return_format="dict", print_info=False)
    assert told["unnamed_endpoints"] == {}
    named = told["named_endpoints"]
    assert named.keys() == {"/tokenize", "/attention", "/generate"}
    kinds = {p["parameter_name"]: p["python_type"]["type"] for p in named["/generate"]["parameters"]}
    assert kinds == {"prompt": "str", "preset": "str", "max_new_tokens": "int", "seed": "int"}
    assert named["/tokenize"]["returns"][0]["type"]["required"] == ["ids", "tokens", "vocab_size"]
    assert named["/attention"]["description"].startswith("Tell where one attention head")


def test_tokenize_over_the_client_gives_ids_tokens_and_size(client):
    told = client.predict("Hello", api_name="/tokenize")
    assert told["tokens"] == list("Hello")
    assert len(told["ids"]) == 5
    assert client.predict("é", "byte", api_name="/tokenize")["ids"] == [195, 169]


def test_attention_over_the_client_is_causal_and_adds_up_to_one(client):
    told = client.predict("The import statement", 2, 3, api_name="/attention")
    weights = np.array(told["weights"])
    assert weights.shape == (20, 20)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    assert not np.triu(weights, 1).any()
    assert "Head 3 of layer 2" in told["words"]


def test_the_same_seed_generates_the_same_text_over_the_client(client):
    first = client.predict("The ", "bold", 40, 7, api_name="/generate")
    assert client.predict("The ", "bold", 40, 7, api_name="/generate") == first
    assert len(first["tokens"]) == 40
    assert first["text"] == "".join(token["text"] for token in first["tokens"])


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("/generate", ["x" * 2001], "at most 2,000"),
        ("/generate", [""], "prompt is empty"),
        ("/generate", [["a"]], "must be a string"),
        ("/generate", [None], "must be a string"),
        ("/generate", ["a", "wild"], "must be one of likeliest"),
        ("/generate", ["a", {"x": 1}], "must be one of likeliest"),
        ("/generate", ["a", "bold", 10**9], "from 1 to 300"),
        ("/generate", ["a", "bold", "many"], "from 1 to 300"),
        ("/generate", ["a", "bold", True], "from 1 to 300"),
        ("/generate", ["a", "bold", 5, -1], "seed = -1"),
        ("/generate", ["日本"], "no id for"),
        ("/tokenize", ["a", "wordpiece"], "must be one of model, char, byte"),
        ("/tokenize", ["a", ["byte"]], "must be one of"),
        ("/attention", ["abc", 99], "layer = 99"),
        ("/attention", ["abc", 1, 0], "head = 0"),
        ("/attention", ["a"], "at least two"),
    ],
)
def test_what_is_too_much_or_wrong_is_refused_in_words(client, name, given, words):
    with pytest.raises(Exception, match=words):
        client.predict(*given, api_name=name)


def test_a_direct_post_that_would_skip_the_queue_is_refused(url):
    body = json.dumps({"data": ["Hello"]}).encode()
    request = urllib.request.Request(f"{url}/gradio_api/run/tokenize", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=10)
    refusal.value.close()
    assert refusal.value.code == 404


def test_every_preset_writes():
    for preset in api.SAMPLING_PRESETS:
        assert len(api.generate("The ", preset, 3)["tokens"]) == 3
