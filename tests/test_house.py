"""The house rules: who imports whom, what an import costs, and that lists kept in two places agree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest itself brings it along on 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

# Lower floors first. A file may import from its own floor's packages below, never from above.
FLOORS = [
    ["tlab.wording", "tlab.version"],
    ["tlab.types", "tlab.files", "tlab.machine", "tlab.registry", "tlab.training.records"],
    ["tlab.nn.params", "tlab.config"],
    [
        "tlab.nn.inits",
        "tlab.nn.linear",
        "tlab.nn.activations",
        "tlab.training.schedules",
        "tlab.training.optimizers",
        "tlab.text",
    ],
    ["tlab.nn.norms", "tlab.nn.positions", "tlab.nn.loss"],
    ["tlab.nn.attention", "tlab.nn.mlp", "tlab.nn.residuals"],
    ["tlab.nn.config", "tlab.training.config"],
    ["tlab.nn.model"],
    ["tlab.nn.decoder"],
    ["tlab.nn.trace", "tlab.training.checkpoint", "tlab.cost", "tlab.figures", "tlab.training.parallel"],
    ["tlab.checks", "tlab.training.trainer", "tlab.generate", "tlab.training.snapshots"],
    ["tlab.cli.run_folder", "tlab.profile", "tlab.inside"],
    ["tlab.cli.terminal", "tlab.source", "tlab.cli.flags"],
    ["tlab.ui", "sweeps.grid"],
    ["sweeps.store"],
    ["sweeps.results"],
    ["sweeps.run"],
    ["sweeps.report", "sweeps.findings", "sweeps.console"],
    ["sweeps"],
    ["tlab.cli.commands"],
]


FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def room_of(module):
    """The entry of FLOORS that is the module, or the package that it is in, or the module that holds the name."""
    while module and module not in FLOOR_OF:
        module = module.rpartition(".")[0]
    return module


def floor_of(module):
    return FLOOR_OF.get(room_of(module))


def source_files():
    return [path for folder in ("tlab", "sweeps") for path in sorted((ROOT / folder).rglob("*.py"))]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path):
    """Absolute names of what a file imports, wherever in it; not what is for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = [
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    ]
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


FRONTS = ("tlab", "tlab.nn", "tlab.training", "tlab.cli")  # packages that only gather what is below
INSIDE = [path for path in source_files() if module_name(path) not in FRONTS]


@pytest.mark.parametrize("path", INSIDE, ids=module_name)
def test_a_file_imports_from_lower_floors_only(path):
    own, floor = module_name(path), floor_of(module_name(path))
    assert floor is not None, f"{own} has no floor: add it to FLOORS"
    for module in imported_modules(path):
        other = floor_of(module)
        if other is not None and room_of(module) != room_of(own):  # files of one room may import each other
            assert other < floor, f"{own} imports {module}, which is not below it"


ONLY_IMPORTERS = {
    "gradio": ("tlab.ui", "gradio_app"),
    "joblib": ("sweeps",),
    "matplotlib": ("tlab.figures", "tlab.inside.figures", "tlab.ui", "sweeps"),
    "pandas": ("tlab.cli.commands", "tlab.ui", "sweeps", "tlab.figures"),
    "scipy": ("sweeps",),
    "torch": (),
}


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_heavy_packages_are_imported_where_they_belong_only(path):
    own = module_name(path)
    for module in imported_modules(path):
        package = module.partition(".")[0]
        if package in ONLY_IMPORTERS:
            assert own.startswith(ONLY_IMPORTERS[package] or "nobody"), f"{own} imports {package}"


def test_pyplot_is_never_imported():
    for path in source_files():
        assert "matplotlib.pyplot" not in set(imported_modules(path)), path


def test_importing_tlab_pulls_in_nothing_heavy():
    program = "import sys, tlab; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"gradio", "pandas", "matplotlib", "joblib", "scipy", "torch", "safetensors", "pooch", "tyro", "tqdm"}
    assert "numpy" in loaded.stdout.split()
    assert heavy.isdisjoint(loaded.stdout.split())


def test_requirements_txt_holds_what_pyproject_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == project["dependencies"]
