"""The style sheets of a page as one: Gradio has two for most kinds of component, and a page would ask for each."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from gradio.route_utils import BUILD_PATH_LIB

MODULES = re.compile(r"m\.f=(\[.*?\])")  # the files that a script may load later, as its bundler lists them
NUMBERS = re.compile(r"__vite__mapDeps\(\[([\d,]*)\]\)")  # those of them that come with one component
KIND = re.compile(r"(\w+):\{((?:\w+:\(\)=>\w+\(\(\)=>import\(.*?import\.meta\.url\),?)+)\}")
LINKS = """for (const name of NAMES) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.disabled = true;
  link.href = `./assets/${name}`;
  document.head.append(link);
}"""


def styles_of(kinds: Collection[str]) -> str:
    """HTML for the head of a page with these kinds of components; nothing where Gradio is made in another way.

    Gradio's loader fetches a sheet unless the page has a link to it. A link that is disabled is not followed. A script
    makes the links, as a browser that looks ahead in HTML, which it does when it is busy, would follow all the same.
    """
    texts = {name: (Path(BUILD_PATH_LIB) / name).read_text("utf-8") for name in sheet_names(kinds)}
    whole = {name: text for name, text in texts.items() if "url(" not in text}  # what needs no other file
    return f"<script>{LINKS.replace('NAMES', json.dumps(list(whole)))}</script><style>{''.join(whole.values())}</style>"


def sheet_names(kinds: Collection[str]) -> list[str]:
    """Each once, in the order in which the page would have loaded them."""
    found: list[str] = []
    for path in sorted(Path(BUILD_PATH_LIB).glob("index-*.js")):
        found += modules_of(path.read_text("utf-8"))  # of the page around the components
    for path in sorted(Path(BUILD_PATH_LIB).glob("core-*.js")):
        script = path.read_text("utf-8")
        modules = modules_of(script)
        for kind, loaders in KIND.findall(script):
            if kind in kinds:
                found += [modules[int(n)] for numbers in NUMBERS.findall(loaders) for n in numbers.split(",") if n]
    return [name for name in dict.fromkeys(found) if name.endswith(".css")]


def modules_of(script: str) -> list[str]:
    listed = MODULES.search(script)
    return [name.removeprefix("./") for name in json.loads(listed[1])] if listed else []
