"""A model of the Hugging Face hub -> a folder in the library's cache, with the files that are needed and no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlab.pretrained.fields import PretrainedError
from tlab.pretrained.safetensors_files import INDEX, ONE_FILE, PICKLES, names_in_index
from tlab.wording import several

CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
EXAMPLE_NAME = "openai-community/gpt2"


def is_hub_name(place: str) -> bool:
    """Whether a place is OWNER/NAME and no path: a folder that is only missing here is never asked for elsewhere."""
    is_name = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", place) is not None
    return is_name and not Path(place).exists() and not Path(place).parent.exists()


def downloaded(name: str, check: Callable[[Path], Any], tell: Callable[[str], Any]) -> Path:
    """The folder of a model of the hub, which is downloaded where the cache does not have it.

    Args:
        name: as OWNER/NAME.
        check: is given the folder when its config is there and its weights are not, and refuses what cannot be read.
        tell: is given what will be downloaded, in a sentence, before it is.

    Raises:
        PretrainedError: there is no such model, it is not open to everyone, or the hub cannot be reached.
    """
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache
    except ImportError as error:
        raise PretrainedError(f"this needs huggingface_hub ({error}): pip install huggingface_hub") from error
    hub = HfApi()
    with plain_words(name):
        try:
            files = hub.model_info(name, files_metadata=True).siblings or []
        except OSError as error:
            if getattr(error, "response", None) is not None:  # the hub has answered
                raise
            kept = try_to_load_from_cache(name, CONFIG_FILE)
            if not isinstance(kept, str):
                raise
            tell(f"The hub cannot be reached: {name} is read as it was downloaded before.")
            return Path(kept).parent
        sizes = {file.rfilename: file.size or 0 for file in files}
        if CONFIG_FILE not in sizes:
            raise PretrainedError(f"{name} has no {CONFIG_FILE}, so it is no model of Transformers")
        folder = Path(hub.hf_hub_download(name, CONFIG_FILE)).parent
        check(folder)
        if INDEX in sizes:
            hub.hf_hub_download(name, INDEX)
            weights = names_in_index(folder / INDEX)
        elif ONE_FILE in sizes:
            weights = [ONE_FILE]
        else:
            kinds = sorted({Path(file).suffix for file in sizes} & {*PICKLES})
            has = f"; it has pickles ({', '.join(kinds)}), which are never opened" if kinds else ""
            raise PretrainedError(f"{name} has no safetensors{has}")
        needed = [*weights, *(file for file in (TOKENIZER_FILE,) if file in sizes)]
        missing = [file for file in needed if not isinstance(try_to_load_from_cache(name, file), str)]
        if missing:
            size = sum(sizes.get(file, 0) for file in missing) / 1e6
            tell(f"Downloading {size:,.1f} MB of {name}, {several(len(missing), 'file')}, into {folder}")
        for file in needed:
            hub.hf_hub_download(name, file)
    return folder


@contextmanager
def plain_words(name: str) -> Iterator[None]:
    """What the library raises, in the words of the lab."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        yield
    except PretrainedError:
        raise
    except GatedRepoError as error:
        raise PretrainedError(
            f"{name} is gated: agree to its terms on its page of the hub, then log in with hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise PretrainedError(
            f"{name} is no folder here, and the hub has no model of that name that is open to you; names are as "
            f"{EXAMPLE_NAME}, and a private one needs hf auth login"
        ) from error
    except HFValidationError as error:
        raise PretrainedError(f"{name} is no name of the hub: {error}") from error
    except HfHubHTTPError as error:
        raise PretrainedError(f"the hub does not give {name}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        if error.errno is not None and error.strerror:  # of this machine, as where the disk is full
            raise PretrainedError(f"{name} cannot be kept in the cache: {error.strerror}") from error
        raise PretrainedError(unreachable(name)) from error
    except Exception as error:  # those of the library that it asks by, which may be one or another
        raise PretrainedError(f"{unreachable(name)} ({type(error).__name__})") from error


def unreachable(name: str) -> str:
    """What there is to do without a network."""
    return (
        f"{name} is no folder here, and the hub cannot be reached: there is no network, or HF_HUB_OFFLINE is set. A "
        "model that was downloaded before needs none"
    )
