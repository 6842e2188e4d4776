"""The house rules: who imports whom, what an import costs, and that lists kept in two places agree."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest itself brings it along on 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]

# Lower floors first. A file may import from the floors below its own, and from its own room (entry) alone on its floor.
FLOORS = [
    ["tlab.wording", "tlab.cli.output"],
    ["tlab.notebook.html"],
    [
        "tlab.types",
        "tlab.files",
        "tlab.machine",
        "tlab.registry",
        "tlab.training.moving_average",
        "tlab.training.records",
    ],
    ["tlab.nn.params", "tlab.config", "tlab.judging", "tlab.training.dropout", "tlab.training.trackers"],
    [
        "tlab.nn.inits",
        "tlab.nn.linear",
        "tlab.nn.activations",
        "tlab.training.schedules",
        "tlab.training.optimizers",
        "tlab.text",
    ],
    ["tlab.nn.norms", "tlab.nn.positions", "tlab.nn.loss"],
    ["tlab.nn.scores"],
    ["tlab.nn.attention", "tlab.nn.mlp", "tlab.nn.residuals"],
    ["tlab.nn.config", "tlab.training.config"],
    ["tlab.nn.model"],
    ["tlab.nn.decoder", "tlab.pretrained"],
    ["tlab.training.checkpoint", "tlab.cost", "tlab.figures", "tlab.training.parallel", "tlab.training.shared_start"],
    ["tlab.checks", "tlab.training.trainer", "tlab.generate", "tlab.training.snapshots", "tlab.training.answers"],
    [
        "tlab.cli.run_folder",
        "tlab.profile",
        "tlab.inside",
        "tlab.false_winners",
        "tlab.exercises",
        "tlab.notebook.watch",
    ],
    ["tlab.inside.probes"],
    ["tlab.cli.terminal", "tlab.source", "tlab.cli.flags", "tlab.ui.opened_models"],
    # the app
    ["tlab.ui.runs", "tlab.ui.widgets", "tlab.ui.theme", "tlab.ui.upload_folder", "tlab.ui.visit"],
    ["tlab.ui.listening"],
    ["tlab.ui.demo.eight_bits", "tlab.ui.settings", "tlab.ui.failure_log"],
    ["tlab.ui.demo.shipped_run", "tlab.ui.studies"],
    [
        "tlab.ui.sharing",
        "tlab.ui.request_guard",
        "tlab.ui.presence",
        "tlab.ui.page",
        "tlab.ui.session_state",
    ],
    ["tlab.ui.http_guard", "tlab.ui.visitor_share"],
    ["tlab.ui.inspection", "tlab.ui.diagram", "tlab.ui.glossary"],
    ["tlab.ui.lessons", "tlab.ui.classroom"],
    ["tlab.ui.tabs.tab"],
    ["tlab.ui.tabs.model_choice"],
    ["tlab.ui.tabs.train"],
    ["tlab.ui.tabs.attention"],
    [
        "tlab.ui.tabs.generate",
        "tlab.ui.tabs.inside",
        "tlab.ui.tabs.compare",
        "tlab.ui.tabs.sweeps",
        "tlab.ui.tabs.code",
    ],
    ["tlab.ui.tabs.learn", "tlab.ui.tabs.head_links"],
    ["tlab.ui.demo", "tlab.ui.api"],
    ["tlab.ui.app"],
    # the sweeps
    ["sweeps.grid"],
    ["sweeps.store"],
    ["sweeps.results"],
    ["sweeps.run"],
    ["sweeps.report", "sweeps.findings", "sweeps.console"],
    ["sweeps.__main__"],
    ["tlab.cli.exercises", "tlab.exercises.page"],
    ["tlab.cli.commands"],
    ["tlab.__main__"],
]


FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
FRONTS = ("tlab", "tlab.nn", "tlab.training", "tlab.inside", "tlab.cli")  # packages that only gather what is below


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


MODULES = {module_name(path): path for path in source_files()}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
OURS = ("tlab", "sweeps")


def imports_in(tree):
    """Absolute names of what a tree imports, wherever in it; of a module's name, the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = node.module.startswith(OURS)
            yield from (name if name in MODULES or not ours else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_modules(path):
    return imports_in(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("own", MODULES)
def test_every_file_has_a_floor(own):
    assert floor_of(own) is not None or own in PACKAGES, f"{own} has no floor: add it to FLOORS"


@pytest.mark.parametrize("own", [name for name in MODULES if name not in FRONTS])
def test_a_file_imports_from_lower_floors_only(own):
    for module in imported_modules(MODULES[own]):
        other = floor_of(module)
        if other is not None and room_of(module) != room_of(own):
            assert other < floor_of(own), f"{own} imports {module}, which is not below it"


def test_no_two_files_import_each_other_even_by_a_detour():
    arrows = {(own, module) for own, path in MODULES.items() for module in imported_modules(path) if module in MODULES}
    below = {own: {module for importer, module in arrows if importer == own} for own in MODULES}
    try:
        tuple(TopologicalSorter(below).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(reversed(circle.args[1])))


# An import within a function hides an arrow from the reader. Each of these is late for a reason, and none goes upward.
LATE_IMPORTS = {
    ("tlab.training.checkpoint", "tlab.pretrained.reading"): "the declarations of all architectures, for who imports",
    ("tlab.training.checkpoint", "tlab.pretrained.writing"): "the same, for who exports",
    ("tlab.pretrained.writing", "tlab.pretrained.torch_model"): "PyTorch, which need not be installed",
    ("tlab.cli.commands", "*"): "`tlab --help` takes as long as what it imports: a command loads what it needs",
    ("tlab.cli.run_folder", "tlab.figures"): "matplotlib, for the one picture at the end of a training",
    ("tlab.training.trainer", "tlab.figures"): "matplotlib, for who asks for the picture of a training",
    ("tlab.inside.tables", "tlab.figures"): "the type of a picture, for the reader",
    ("tlab.inside.tables", "tlab.inside.table_figure"): "matplotlib, for who asks for the picture of a table",
    ("tlab.inside.over_time", "tlab.figures"): "the type of a picture, for the reader",
    ("tlab.inside.over_time", "tlab.inside.figures"): "matplotlib, for who asks for the picture of a table",
    ("tlab.ui.sharing.write_zip", "tlab.figures"): "matplotlib, for the visitors who export a run",
    ("sweeps.run.backends", "sweeps.run.dask_backend"): "dask, which need not be installed",
}


def late_imports():
    """(importer, imported) of each import of our own that is not at the top of its file."""
    for own, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        late = ast.Module([node for node in tree.body if node not in top], [])
        yield from ((own, name) for name in imports_in(late) if name.startswith(OURS))


def test_every_import_of_our_own_is_at_the_top_of_its_file():
    hidden = {(own, name) for own, name in late_imports() if (own, "*") not in LATE_IMPORTS}
    assert hidden <= set(LATE_IMPORTS), "move these imports to the top: " + str(hidden - set(LATE_IMPORTS))


def test_every_exception_for_a_late_import_is_needed():
    needed = {pair for own, name in late_imports() for pair in ((own, name), (own, "*"))}
    unneeded = set(LATE_IMPORTS) - needed
    assert not unneeded, f"take these off LATE_IMPORTS: {unneeded}"


MAX_FILES = 14


@pytest.mark.parametrize(
    "folder",
    [
        folder
        for root in OURS
        for folder in (ROOT / root, *sorted((ROOT / root).rglob("*")))
        if folder.is_dir() and folder.name != "__pycache__"
    ],
    ids=lambda folder: folder.relative_to(ROOT).as_posix(),
)
def test_a_folder_is_seen_at_a_glance(folder):
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert len(files) <= MAX_FILES, f"{len(files)} files; a folder has {MAX_FILES} at most"


ONLY_IMPORTERS = {
    "gradio": ("tlab.ui", "gradio_app"),
    "joblib": ("sweeps",),
    "matplotlib": ("tlab.figures", "tlab.inside.figures", "tlab.inside.table_figure", "tlab.ui", "sweeps"),
    "pandas": (
        "tlab.cli.commands",
        "tlab.ui",
        "sweeps",
        "tlab.figures",
        "tlab.notebook.html",
        # as the type of what `to_pandas` returns
        "tlab.inside.tables",
        "tlab.text.tokenizers",
        "tlab.training.trainer",
    ),
    "scipy": ("tlab.judging", "sweeps"),
    "gguf": ("tlab.pretrained.gguf_files",),
    "huggingface_hub": ("tlab.pretrained.hub",),
    "torch": ("tlab.pretrained.writing", "tlab.pretrained.torch_model", "tlab.pretrained.modeling_tlab"),
    "transformers": ("tlab.pretrained.modeling_tlab",),
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
        assert not [name for name in imported_modules(path) if name.startswith("matplotlib.pyplot")], path


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


def test_no_test_sets_the_clock_of_the_whole_process():
    """A server of another test, in a thread of its own, would sleep by it: until infinity, and then answer nobody."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"setattr\(\s*(?:\w+\.)*time, ", path.read_text(encoding="utf-8")), path
