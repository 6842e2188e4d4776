"""A guard of the speed that looks at no clock: calls into NumPy, its matrix products, and the memory that it hands out.

These are what a change costs on every machine, and noise does not move them. `python tests/test_guard.py` prints
the counts as they are now, by call. More than before is no error in itself: see which call is new, decide, measure with
`python -m benchmarks`, and put the new counts into `MOST` with the change that pays for them.
"""

import contextlib
from collections import Counter

import numpy as np
import pytest

from tlab import ComputeConfig, ModelConfig, TrainConfig, Trainer, Transformer
from tlab.cost import step_flops
from tlab.generate import generate_samples
from tlab.nn.attention import LONGEST_KEPT, LONGEST_WHOLE
from tlab.nn.linear import LARGE_VOCABULARY
from tlab.nn.scores.softmaxes import NO_MAX_SHIFT_BELOW
from tlab.text import corpus_from_text

TOLERANCE = 1.03  # releases of NumPy differ in a call or two


def text_of(vocab_size):
    """A text of so many different characters."""
    return "".join(map(chr, range(0x100, 0x100 + vocab_size))) * 40


TEXT = text_of(65)

LLAMA = {"norm": "rmsnorm", "activation": "swiglu", "position": "rope"}
PAPER = {"residual": "post", "activation": "relu"}

# calls, thousands of bytes
MOST = {
    "step, default": (310, 34833),
    "step, as Llama": (302, 40610),
    "step, as the paper of 2017": (259, 30023),
    "step, recomputed": (408, 49841),
    "token, default": (76, 13.5),
    # 1 kB is queries and keys side by side, for one product; 2 kB of matrices that were not counted are gone.
    "token, as Llama": (74, 16.9),
    "token of four texts, default": (131, 66.8),
}


class Counts:
    """What was seen since the last `clear`."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.calls, self.bytes = Counter(), 0
        self.product_operations = 0  # of matrix products; a multiply and an add are two

    def saw_product(self, a, result):
        """Of a matrix product with `a` on the left."""
        self.product_operations += 2 * result.size * a.shape[-1]

    def saw(self, name, result=None):
        self.calls[name] += 1
        if isinstance(result, np.ndarray) and result.flags.owndata:
            self.bytes += result.nbytes


COUNTS = Counts()


class Counted(np.ndarray):
    """An array that tells of every operation on it; what comes out is counted in turn."""

    def __array_finalize__(self, source):
        if self.flags.owndata:  # neither a view nor the result of a ufunc, which is counted below
            COUNTS.bytes += self.nbytes

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is not None:
            options["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **{k: plain(v) for k, v in options.items()})
        COUNTS.saw(ufunc.__name__, None if out is not None else result)
        if ufunc is np.matmul:
            COUNTS.saw_product(inputs[0], result)
        if out is not None:
            return out[0]
        return result.view(Counted) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, kinds, arguments, options):
        COUNTS.saw(function.__name__)
        return super().__array_function__(function, kinds, arguments, options)

    def dot(self, other):
        result = plain(self).dot(plain(other))
        COUNTS.saw("dot", result)
        COUNTS.saw_product(self, result)
        return result.view(Counted)


def plain(value):
    return value.view(np.ndarray) if isinstance(value, Counted) else value


@contextlib.contextmanager
def counted_makers():
    """np.empty and its like make counted arrays too, and so the count goes on from there."""
    names = ["empty", "zeros", "ones", "full", "empty_like", "zeros_like", "ascontiguousarray"]
    usual = {name: getattr(np, name) for name in names}

    def counting(name):
        def make(*arguments, **options):
            result = usual[name](*map(plain, arguments), **options)
            COUNTS.saw(name, result)
            return result.view(Counted)

        return make

    def array(source, *arguments, **options):
        """Of counted arrays it makes one, as np.array would not; it counts for nothing by itself."""
        result = usual["array"](source, *arguments, **options)
        parts = source if isinstance(source, (tuple, list)) else [source]
        return result.view(Counted) if any(isinstance(part, Counted) for part in parts) else result

    usual["array"] = np.array
    try:
        for name in names:
            setattr(np, name, counting(name))
        np.array = array
        yield
    finally:
        for name in usual:
            setattr(np, name, usual[name])


def count_weights(model):
    """Everything that is computed from the weights is counted from now on."""
    model.parameters.lay_out(model.parameters.data.view(Counted), model.parameters.grad.view(Counted))


def counted_trainer(recompute=False, text=TEXT, **changes):
    """A training whose calls into NumPy are counted."""
    corpus = corpus_from_text(text)
    config = ModelConfig(corpus.tokenizer.vocab_size, **changes)
    compute = ComputeConfig(threads=1, recompute=recompute)
    trainer = Trainer(config, TrainConfig(steps=9, validation_every=0), corpus, compute=compute)
    for model in {trainer.model, *trainer.batch_threads.replicas}:
        count_weights(model)
    trainer.optimizer.state = {name: vector.view(Counted) for name, vector in trainer.optimizer.state.items()}
    return trainer


def count_step(recompute=False, text=TEXT, **changes):
    """One training step: the second one, as the first makes masks and tables."""
    return count_second_step(counted_trainer(recompute, text, **changes))


def count_second_step(trainer):
    with counted_makers():
        trainer.train_step()
        COUNTS.clear()
        trainer.train_step()
    return COUNTS


def count_token(samples=1, place=20, **changes):
    """One token in the middle of a text."""
    corpus = corpus_from_text(TEXT)
    model = Transformer(ModelConfig(corpus.tokenizer.vocab_size, **changes))
    count_weights(model)
    tokens = generate_samples(model, corpus.tokenizer, TEXT[0], samples=samples, max_new_tokens=place + 1)
    with counted_makers():
        for _ in range(place):
            next(tokens)
        COUNTS.clear()
        next(tokens)
    return COUNTS


CASES = {
    "step, default": lambda: count_step(),
    "step, as Llama": lambda: count_step(**LLAMA),
    "step, as the paper of 2017": lambda: count_step(**PAPER),
    "step, recomputed": lambda: count_step(recompute=True),
    "token, default": lambda: count_token(),
    "token, as Llama": lambda: count_token(**LLAMA),
    "token of four texts, default": lambda: count_token(samples=4),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_calls_numpy_more_often_or_asks_for_more_memory_than_it_did(case):
    counts = CASES[case]()
    calls, kilobytes = MOST[case]
    seen = f"{counts.calls.total()} calls and {counts.bytes / 1000:.1f} kB; allowed were {calls} and {kilobytes}"
    advice = (
        f"a {case}: {seen}. Look at them with: python tests/test_guard.py. By call: {dict(counts.calls.most_common())}"
    )
    assert counts.calls.total() <= TOLERANCE * calls, advice
    assert counts.bytes <= TOLERANCE * 1000 * kilobytes, advice
    assert counts.calls.total() > 0.8 * calls and counts.bytes > 800 * kilobytes, (
        f"less than before, so lower MOST; {advice}"
    )


def test_a_step_with_the_scores_of_a_trained_model_calls_numpy_as_often_as_the_first():
    """Scores of 20 to 50 are usual; a maximum of each row would take longer than all the rest of the softmax."""
    before = count_step().calls.copy()
    trainer = counted_trainer()
    for block in trainer.model.blocks:
        block.attention.qkv.weight.data *= 20
    largest = np.abs(attention_scores(trainer)).max()
    assert 20 < largest < NO_MAX_SHIFT_BELOW
    assert count_second_step(trainer).calls == before


def attention_scores(trainer):
    """Of the first block, for a batch from the beginning of the text: (B, H, T, T)."""
    ids = trainer.corpus.train[: 16 * 64].reshape(16, 64)
    trace = trainer.model.forward(ids)[1].blocks[0].attention
    return trainer.model.blocks[0].attention.scores(trace.queries, trace.keys)


@pytest.mark.parametrize("vocab_size", [65, LARGE_VOCABULARY + 1])
@pytest.mark.parametrize(
    "changes", [{}, LLAMA, PAPER, *({"context_length": length + 20} for length in (LONGEST_WHOLE, LONGEST_KEPT))]
)
def test_a_step_multiplies_what_its_weights_ask_for_and_little_more(changes, vocab_size):
    counts = count_step(text=text_of(vocab_size), **changes)
    needed = step_flops(ModelConfig(vocab_size, **changes), TrainConfig().batch_size)
    assert needed <= counts.product_operations <= 1.04 * needed  # sums, as a norm's, are products with ones


@pytest.mark.parametrize("position", ["sinusoidal", "rope", "alibi", "learned"])
def test_a_token_late_in_the_window_asks_for_no_more_than_its_attention_over_the_cache(position):
    """Neither masks nor tables are made again, nor the cache copied: the scores of each head grow, and nothing else."""
    layers, heads, first, size_of_float32 = 2, 4, 10, 4
    early = count_token(place=first, position=position, context_length=1024)
    early_calls, early_bytes = early.calls.copy(), early.bytes
    for place in (100, 1000):
        late = count_token(place=place, position=position, context_length=1024)
        assert late.calls == early_calls
        assert late.bytes - early_bytes == layers * heads * (place - first) * size_of_float32


def test_the_counts_see_an_operation_more(monkeypatch):
    from tlab.nn.activations import Gelu

    before = count_step()
    calls, size = before.calls.total(), before.bytes
    usual = Gelu.forward
    monkeypatch.setattr(Gelu, "forward", lambda self, x: usual(self, x + 0.0))
    after = count_step()
    assert after.calls.total() == calls + 2  # two blocks
    assert after.bytes == size + 2 * 16 * 64 * 224 * 4


if __name__ == "__main__":
    for case, count in CASES.items():
        counts = count()
        print(f"{case}: {counts.calls.total()} calls, {counts.bytes / 1000:.1f} kB")
        print("   ", ", ".join(f"{name} {number}" for name, number in counts.calls.most_common()))
