"""One name, one meaning: what stands at module level in two files or more. Run: python tests/names.py

A name counts if a function, class or constant of `tlab` or `sweeps` is defined under it at module level in two files
or more, and it isn't in SAME_MEANING. Methods, imports and names inside functions don't count.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_AMBIGUOUS = 2  # to be lowered, never raised

# Names that mean the same thing everywhere: each module has its own of them, and a reader knows it from the name.
SAME_MEANING = {
    "__all__": "Python's own: what a package offers",
    "main": "Python's custom: where a program starts",
    "markup": "the macros of the template that stands beside the module",
    "build": "makes the Gradio components of a page or a tab",
    "INCONCLUSIVE": "the verdict where the seeds leave a question open",
    "DAY_ZERO": "the date of a file in a zip that has to be the same at any hour",
    "FORMAT": "the name and version of the files that the module writes",
    "ROOT": "the folder that holds the repository",
    "PAGE": "where the page that the module writes goes",
    "SCHEMA": "the version of a hashed description",
    "SECONDS_BETWEEN_FRAMES": "the pace of what is redrawn in the browser",
    "SAMPLE_TOKENS": "how many tokens a sample during training has",
    "MAX_TEXT": "how much of a text the module accepts, in the unit beside it",
    "MAX_CHARACTERS": "how many characters of an input the module accepts",
    "MAX_TOKENS": "how many tokens the module accepts",
    "MAX_WINDOWS": "how many windows of held-out text a probe reads",
    "MAX_NAME_LENGTH": "how many characters the name of a run may have",
    "MEASURED_STEPS": "how many training steps are timed for an estimate",
    "generate": "continues a prompt: the function, its command and its API endpoint",
    "probe": "applies a probe to a model: the function and its command",
    "profile": "times the parts of a training step: the function and its command",
}


def definitions(tree):
    """Names of the functions, classes and constants at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name))


def ambiguous_names(root=ROOT):
    """{name: files that define it}, for each name that may mean different things."""
    files = defaultdict(set)
    for package in ("tlab", "sweeps"):
        for path in sorted((root / package).rglob("*.py")):
            for name in definitions(ast.parse(path.read_text(encoding="utf-8"))):
                files[name].add(path.relative_to(root).as_posix())
    return {
        name: sorted(places) for name, places in sorted(files.items()) if len(places) > 1 and name not in SAME_MEANING
    }


def main():
    """Print the names with their files; exit with 1 if there are more than allowed."""
    found = ambiguous_names()
    for name, places in found.items():
        print(f"{name:28} {', '.join(places)}")
    print(f"{len(found)} names stand in two files or more; {MAX_AMBIGUOUS} are allowed")
    sys.exit(len(found) > MAX_AMBIGUOUS)


if __name__ == "__main__":
    main()
