"""Break what reads, trains and judges in places drawn by a seed; nine breaks in ten have to fail a test.

Run: python tests/sampled_mutations.py [--count 165] [--seed 0] [--processes 2] [--file tlab/judging/few_seeds.py]

`mutations.py` has breaks of the core, chosen by hand. This one makes its own, of the rooms in ROOMS: a comparison
flipped, a number moved by one, a condition negated, a statement removed, a result replaced. First the tests of each
room run once with coverage, which tells for every line what runs it and how long that takes. Then each break is
written into a copy of the repository, and the tests of its line run, the quickest first, up to the first that fails.
"""

import argparse
import ast
import hashlib
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from breaks import ROOT, Break, copied, fork, prepare, pytest_in, tried

GOLDEN = "tests/golden/test_numbers.py"
ROOMS = {
    "tlab/inside": ["tests/inside", "tests/notebook", GOLDEN],
    "tlab/training": ["tests/training", "tests/test_config.py", "tests/notebook", GOLDEN],
    "tlab/text": ["tests/text", GOLDEN],
    "tlab/judging": ["tests/judging", "tests/sweeps/results"],
    "sweeps/results": ["tests/sweeps/results", "tests/sweeps/report", GOLDEN],
}
MIN_CAUGHT = 0.9
# Nothing but the look of pictures, as the views of the app are, which are in no room; tests look at what they show.
VIEWS = ("tlab/inside/table_figure.py", "tlab/inside/figures.py")

AT_ONCE = "how much is read at once decides over memory alone"
ROWS, FIELD, CURVE, GROUP = (
    "ROWS_AT_ONCE = 500_000  # of curves.csv: a large sweep's curves are never text in memory as a whole",
    "MAX_FIELD_SIZE = 1 << 24  # characters of one field of a CSV: a traceback may be long",
    "CURVE_ROWS_AT_ONCE = 1 << 16  # bytes of CSV in one block; some blocks are read ahead while Parquet is written",
    "BLOCKS_OF_GROUP = 16  # that are one group of rows in Parquet: a reader takes a group as a whole",
)
NO_NORM = 'none = NORMS["none"](ParamSpace(), "none", model.config.hidden_dim, 0.0)'
NOT_PRINTABLE = "characters 127 and 128 are written as their numbers anyway"
BYTES = (
    "DISPLAY.get(chr(b), chr(b) if chr(b).isprintable() and b < 128 else repr(bytes([b]))[2:-1]) for b in range(256)"
)
TOO_LONG = "the scores of so many tokens fit into no memory"
# Breaks that change nothing that anyone can observe: (file, line, what is replaced, by what) and why.
EQUIVALENT = {
    ("tlab/inside/probes/lengths.py", "edges = [0, *(2**k for k in range(20) if 2**k < T), T]", "20", "(21)"): TOO_LONG,
    ("tlab/inside/probes/lengths.py", "edges = [0, *(2**k for k in range(20) if 2**k < T), T]", "20", "(19)"): TOO_LONG,
    ("tlab/inside/probes/heads.py", "distances = [d for d in (*range(9), *(2**k for k in range(4, 16))) if d < T]",
     "16", "(17)"): TOO_LONG,
    ("tlab/inside/probes/heads.py", "distances = [d for d in (*range(9), *(2**k for k in range(4, 16))) if d < T]",
     "16", "(15)"): TOO_LONG,
    ("tlab/inside/interventions.py", NO_NORM, "0.0", "(1.0)"): "where there is no norm there is no epsilon",
    ("sweeps/results/read.py", ROWS, "500_000", "(500001)"): AT_ONCE,
    ("sweeps/results/read.py", ROWS, "500_000", "(499999)"): AT_ONCE,
    ("sweeps/results/read.py", FIELD, "1", "(2)"): AT_ONCE,
    ("sweeps/results/read.py", FIELD, "24", "(25)"): AT_ONCE,
    ("sweeps/results/write.py", CURVE, "1", "(2)"): AT_ONCE,
    ("sweeps/results/write.py", CURVE, "16", "(17)"): AT_ONCE,
    ("sweeps/results/write.py", CURVE, "16", "(15)"): AT_ONCE,
    ("sweeps/results/write.py", GROUP, "16", "(17)"): AT_ONCE,
    ("sweeps/results/write.py", GROUP, "16", "(15)"): AT_ONCE,
    ("tlab/inside/figures.py", "last = max(curves.steps[-1], 1)", "1", "(2)"): "the marks of 1 and 2 are the same",
    ("tlab/training/parallel.py", 'self.pool = ThreadPoolExecutor(self.threads - 1, "tlab-batch")', "1", "(0)"):
        "the pool starts no more threads than it gets work for",
    ("tlab/text/tokenizers.py", BYTES, "128", "(129)"): NOT_PRINTABLE,
    ("tlab/text/tokenizers.py", BYTES, "128", "(127)"): NOT_PRINTABLE,
    ("tlab/text/tokenizers.py", BYTES, "b < 128", "(b <= 128)"): NOT_PRINTABLE,
    ("tlab/text/tokenizers.py", "self.id_of = np.full(self.code_points[-1] + 2, -1, dtype=np.int32)", "2", "(3)"):
        "one more place that is never reached",
    ("tlab/text/tasks.py", "for heads in rng.random(2 * pairs) < 0.5:", "rng.random(2 * pairs) < 0.5",
     "(rng.random(2 * pairs) <= 0.5)"): "no number that is drawn is 0.5",
    ("tlab/judging/learning_rates.py", "for left in range(max(best - 1, 0), min(best + 1, len(places) - 1)):", "0",
     "(-1)"): "where the first rate is the best, the line through it and the next is lowest there",
    ("tlab/judging/few_seeds.py", "left[apart] = p_values[apart] > alpha / num_columns",
     "p_values[apart] > alpha / num_columns", "(p_values[apart] >= alpha / num_columns)"): "no p-value is that number",
    ("tlab/judging/few_seeds.py", "return self.low > MAX_ROUNDING or self.high < -MAX_ROUNDING",
     "self.high < -MAX_ROUNDING", "(self.high <= -MAX_ROUNDING)"): "no interval ends at that very number",
    ("tlab/judging/few_seeds.py",
     "dropped = np.flatnonzero(left & (distances > limits) & (p_values <= alpha_together)).tolist()",
     "distances > limits", "(distances >= limits)"): "no distance is that number",
    ("tlab/judging/few_seeds.py", "if found.n < 2 or math.isinf(found.low):", "2", "(1)"):
        "that of fewer than two values is 1 in `tail`, too",
    ("tlab/judging/few_seeds.py", "rng = np.random.default_rng(0)", "0", "(1)"): "any seed will do",
    ("tlab/judging/learning_rates.py", "means = values.mean(axis=0, keepdims=True)", "True", "(False)"):
        "a row is fitted and subtracted like a vector",
    ("tlab/judging/few_seeds.py", "usual = distances[distances > MAX_ROUNDING]", "distances > MAX_ROUNDING",
     "(distances >= MAX_ROUNDING)"): "no distance is that number",
    ("tlab/judging/few_seeds.py",
     "if upper[0] - lower[-1] > max(WIDE_GAP, OUTLYING * max(np.ptp(lower), np.ptp(upper))):",
     "upper[0] - lower[-1] > max(WIDE_GAP, OUTLYING * max(np.ptp(lower), np.ptp(upper)))",
     "(upper[0] - lower[-1] >= max(WIDE_GAP, OUTLYING * max(np.ptp(lower), np.ptp(upper))))"): "no gap is that number",
    ("sweeps/results/effects.py", "for count in range(2, len(order) + 1):", "2", "(1)"):
        "one level differs from none, so nothing is found",
    ("sweeps/results/balance.py", "if len(common) > MAX_BLOCK_SETS:", "len(common) > MAX_BLOCK_SETS",
     "(len(common) >= MAX_BLOCK_SETS)"): "the largest so many of so many are all of them",
    ("tlab/judging/level_pairs.py", "NEWTON_STEPS = 8", "8", "(9)"):
        "the steps before it have found it to the last digit",
    ("tlab/judging/learning_rates.py",
     "worse = [at for at in range(best + 1, len(places)) if estimate(above_best[:, at]).low > MAX_ROUNDING]",
     "estimate(above_best[:, at]).low > MAX_ROUNDING", "(estimate(above_best[:, at]).low >= MAX_ROUNDING)"):
        "no interval ends at that very number",
    ("sweeps/results/balance.py",
     "return Balanced(np.arange(seeds if blocks else 0), np.arange(blocks if seeds else 0))", "0", "(-1)"):
        "a range to -1 is as empty",
    ("tlab/training/dropout.py", "is_kept = np.random.Generator(bits).random(x.shape) >= self.rate",
     "np.random.Generator(bits).random(x.shape) >= self.rate",
     "(np.random.Generator(bits).random(x.shape) > self.rate)"):
        "no number that is drawn is the rate",
    ("tlab/inside/over_time.py", 'fields = cast("Any", rows[0])._fields', "0", "(1)"): "all rows have the same fields",
    ("tlab/inside/positions.py", "values = position.embed(np.zeros((1, T, config.hidden_dim), np.float32), 0)[0]",
     "1", "(2)"): "two texts instead of one, of which the first is looked at",
    ("tlab/inside/positions.py", "added = position.embed(np.zeros((1, T, config.hidden_dim), np.float32), 0)[0]",
     "1", "(2)"): "two texts instead of one, of which the first is looked at",
}  # fmt: skip


class Mutation(NamedTuple):
    """`text` is the line as it was, `source` the whole file with the break in it."""

    file: str
    line: int
    text: str
    before: str
    after: str
    source: str


# ------------------------------------------------------------------------------------------------ making breaks

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add, ast.Pow: ast.Mult,
}  # fmt: skip


def is_text(node):
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def broken(node):
    """What may stand in place of a node of the tree."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not is_text(node.left):
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
        yield ast.Pass()
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        if node.value or not hasattr(node, "is_index"):  # the first text of a batch of one is the last as well
            yield ast.Constant(node.value - 1)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.If | ast.IfExp) and ast.unparse(node.test) != "TYPE_CHECKING":  # never true in a run
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield from [] if ast.unparse(node) == "raise NotImplementedError" else [ast.Pass()]  # that is a contract


def nodes_of(tree):
    """All nodes whose break could be seen: no annotation, decorator, docstring, text of a message, or `strict=True`.

    That `zip` finds its arguments equally long is an assertion, which no caller can make fail.
    """
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "format_spec", "exc"):
            continue
        if isinstance(tree, ast.keyword) and tree.arg == "strict":
            continue
        if isinstance(tree, ast.Subscript) and name == "slice":
            for index in value.elts if isinstance(value, ast.Tuple) else [value]:
                index.is_index = True
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from nodes_of(node)


def mutations_of(file):
    """Every break of a file, in order."""
    source = (ROOT / file).read_text(encoding="utf-8")
    starts, lines = [0], source.splitlines()
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    raw = source.encode()

    def place(node, end=False):
        line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
        return starts[line - 1] + column

    for statement in ast.parse(source).body:
        first, last = place(statement), place(statement, end=True)
        for node in [statement, *nodes_of(statement)]:
            for new in broken(node):
                old, new = new if isinstance(new, tuple) else (node, new)
                begin, end = place(old), place(old, end=True)
                text = ast.unparse(ast.fix_missing_locations(new))
                text = text if isinstance(new, ast.stmt) else f"({text})"
                try:
                    ast.parse(raw[first:begin] + text.encode() + raw[end:last])
                except SyntaxError:  # within an f-string, say
                    continue
                mutated = (raw[:begin] + text.encode() + raw[end:]).decode()
                yield Mutation(file, old.lineno, lines[old.lineno - 1].strip(), raw[begin:end].decode(), text, mutated)


def draw(files, count, seed):
    """So many breaks of these files, each as probable as any other.

    Each is drawn by itself alone, not by its number: a change of the code replaces the breaks of the lines that it
    changes, and leaves the rest of the sample as it was.
    """

    def order(mutation):
        told = (seed, mutation.file, mutation.text, mutation.before, mutation.after)
        return hashlib.sha256(repr(told).encode()).digest()

    chosen = sorted((mutation for file in files for mutation in mutations_of(file)), key=order)[:count]
    chosen = [mutation for mutation in chosen if mutation.file not in VIEWS]
    return [m for m in chosen if m.before != m.after and (m.file, m.text, m.before, m.after) not in EQUIVALENT]


# ------------------------------------------------------------------------------------------------ running tests


class Recorder:
    """A plugin of pytest: the seconds of each test, and which ones failed."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.failed = []

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def watch_tests(folder, tests):
    """Run tests with coverage in a child, for `watched` to read what they did; -> its pid."""

    def run():
        import coverage
        import pytest

        fixtures = {}  # of each test, by name

        class Contexts(Recorder):
            def pytest_runtest_setup(self, item):
                fixtures[item.nodeid] = item.fixturenames
                self.test = item.nodeid
                measured.switch_context(self.test)

            @pytest.hookimpl(wrapper=True)
            def pytest_fixture_setup(self, fixturedef):
                if fixturedef.scope != "function":
                    measured.switch_context(f"{fixturedef.baseid} {fixturedef.argname}")
                made = yield
                measured.switch_context(self.test)
                return made

        def tests_of(context):
            if context in fixtures:
                return [context]
            place, _, name = context.rpartition(" ")
            return [test for test, names in fixtures.items() if name in names and test.startswith(place)]

        ours = [str(folder / package) for package in ("tlab", "sweeps")]
        measured = coverage.Coverage(data_file=None, source=ours, config_file=False)
        measured.start()
        recorder = Contexts()
        pytest_in(folder, tests, [recorder])
        measured.stop()
        data = measured.get_data()
        lines = {}
        for file in data.measured_files():
            lines[str(Path(file).relative_to(folder))] = {
                line: sorted({test for context in contexts for test in tests_of(context)})
                for line, contexts in data.contexts_by_lineno(file).items()
            }
        (folder / "watched.json").write_text(json.dumps([lines, recorder.seconds, recorder.failed]))
        return 0

    return fork(run)


def watched(folder):
    """({(file, line): tests that run it}, {test: seconds}).

    What a fixture runs that several tests share belongs to all of them. A line that only an import runs belongs to all
    tests, those of its file first; so do lines that are part of no statement (0).
    """
    lines, seconds, failed = json.loads((folder / "watched.json").read_text())
    if failed:
        print(f"left out, since they fail as they are: {', '.join(failed)}")
    seconds = {name: took for name, took in seconds.items() if name not in failed}
    runs = {}
    for file, of_line in lines.items():
        of_file = {name for names in of_line.values() for name in names}
        in_order = sorted(seconds, key=lambda name: (name not in of_file, seconds[name]))
        for line, names in [*of_line.items(), (0, ())]:
            runs[file, int(line)] = [name for name in in_order if not names or name in names]
    return runs, seconds


def patience(tests, seconds):
    """How long these tests may take before they count as hanging, which is as good as a failure."""
    return 30 + 4 * sum(seconds.get(name, 0.0) for name in tests)


def main():
    """Try a sample; exit with 1 where too many survive."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=165)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--file", action="append", default=[], help="break these only; more than once")
    wanted = parser.parse_args()

    prepare()
    files = {
        path.relative_to(ROOT).as_posix(): room
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if not wanted.file or path.relative_to(ROOT).as_posix() in wanted.file
    }
    sample = draw(sorted(files), wanted.count, wanted.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        free = [copied(Path(temporary) / str(number)) for number in range(wanted.processes)]
        rooms, watching, of_room = sorted({files[m.file] for m in sample}), {}, {}
        while rooms or watching:
            while rooms and free:
                room, folder = rooms.pop(0), free.pop()
                watching[watch_tests(folder, ROOMS[room])] = room, folder
            room, folder = watching.pop(os.wait()[0])
            of_room[room] = watched(folder)
            free.append(folder)
        print(f"{len(sample)} breaks; the tests as they are took {time.monotonic() - began:.0f} s", flush=True)
        breaks = []
        for mutation in sample:
            runs, seconds = of_room[files[mutation.file]]
            tests = runs.get((mutation.file, mutation.line), runs.get((mutation.file, 0), []))
            words = f"{mutation.file}:{mutation.line} {mutation.before!r} -> {mutation.after!r}"
            allowed = patience(tests, seconds)
            breaks.append(Break(mutation.file, mutation.source, [tests] if tests else [], allowed, words))
        caught = 0
        for one, failed in tried(breaks, free):
            caught += failed
            print(f"{'caught' if failed else 'SURVIVED':8} {one.words}", flush=True)
    print(
        f"{caught} of {len(sample)} breaks were caught in {time.monotonic() - began:.0f} s ({caught / len(sample):.0%})"
    )
    sys.exit(caught < MIN_CAUGHT * len(sample))


if __name__ == "__main__":
    main()
