"""A batch in parts: the same gradient as in one, the same bits whoever was faster, and an orderly end."""

import dataclasses
import os
import signal
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from support import all_combinations, tiny
from tlab import Checkpoint, ComputeConfig, ConfigError, TrainConfig, Trainer, Transformer
from tlab.checks import random_model
from tlab.machine import one_blas_thread
from tlab.nn.model import RecomputedBlock
from tlab.training.parallel import MIN_FLOPS_PER_THREAD, BatchThreads, decide_threads
from tlab.training.trainer import evaluate

QUICK = TrainConfig(steps=6, batch_size=5, validation_every=3, warmup_steps=2)
WAYS = [
    ComputeConfig(threads=2),
    ComputeConfig(threads=5),
    ComputeConfig(threads=1, micro_batches=3),
    ComputeConfig(threads=1, recompute=True),
    ComputeConfig(threads=2, micro_batches=2, recompute=True),
]


def name(compute):
    return ", ".join(f"{key} {value}" for key, value in compute.to_json().items())


def trainer_on(corpus, compute, **changes):
    return Trainer(tiny(vocab_size=corpus.tokenizer.vocab_size, **changes), QUICK, corpus, compute=compute)


def numbers(records):
    return [record._replace(seconds=0.0) for record in records]


def gradient(model, compute, ids, targets):
    """Loss and gradient of a batch, added to a gradient that was not zero."""
    model.parameters.grad[...] = 1.0
    loss = BatchThreads(model, compute).accumulate_gradients(ids, targets)
    return loss, model.parameters.grad - 1.0


@pytest.fixture
def batch(rng):
    """Five texts, which no number of threads divides evenly, and what follows each token."""
    return rng.integers(0, 11, (2, 5, 8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has imported it
def test_a_forked_child_goes_on_with_threads_of_its_own(verse):
    trainer = trainer_on(verse, ComputeConfig(threads=2))
    next(iter(trainer))
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a helper that is not there would be waited for to the end of time
        list(trainer)
        os._exit(0 if trainer.finished else 1)
    assert os.waitpid(child, 0)[1] == 0


# --- right ---


@pytest.mark.parametrize("compute", WAYS, ids=name)
def test_in_parts_the_gradient_is_that_of_the_whole_batch(compute, batch, rng):
    model = random_model(tiny(), rng)
    whole_loss, whole = gradient(model, ComputeConfig(threads=1), *batch)
    loss, parts = gradient(model, compute, *batch)
    assert loss == pytest.approx(whole_loss, rel=1e-13)
    assert np.abs(parts - whole).max() < 1e-12 * np.abs(whole).max()


@pytest.mark.parametrize("config", all_combinations())
def test_recomputing_a_block_gives_the_same_bits_with_every_switch(config, batch, rng):
    model = random_model(config, rng)
    results = [gradient(model, ComputeConfig(threads=1, recompute=again), *batch) for again in (False, True)]
    assert results[0][0] == results[1][0]
    assert (results[0][1] == results[1][1]).all()


@pytest.mark.parametrize("compute", WAYS, ids=name)
def test_the_same_way_gives_the_same_bits(compute, verse):
    one, other = trainer_on(verse, compute), trainer_on(verse, compute)
    assert numbers(one) == numbers(other)
    assert (one.model.parameters.data == other.model.parameters.data).all()


def test_the_bits_do_not_depend_on_which_thread_is_faster(batch, rng, monkeypatch):
    model = random_model(tiny(), rng)
    threads = BatchThreads(model, ComputeConfig(threads=3))
    results = []
    for slowest in range(3):
        for i, replica in enumerate(threads.replicas):

            def late(*part, i=i, replica=replica, usual=Transformer.accumulate_gradients):
                time.sleep(0.02 if i == slowest else 0)  # noqa: B023, called in this turn
                return usual(replica, *part)

            monkeypatch.setattr(replica, "accumulate_gradients", late)
        model.parameters.grad[...] = 0
        results.append((threads.accumulate_gradients(*batch), model.parameters.grad.copy()))
    assert all(loss == results[0][0] and (grad == results[0][1]).all() for loss, grad in results)


def test_the_threads_do_work_at_the_same_time(batch, rng, monkeypatch):
    """Each waits for the other in the middle of its part: one after the other would wait for ever."""
    threads = BatchThreads(random_model(tiny(), rng), ComputeConfig(threads=2))
    both_are_here = threading.Barrier(2, timeout=10)
    for replica in threads.replicas:

        def meet(*part, replica=replica, usual=Transformer.accumulate_gradients):
            both_are_here.wait()
            return usual(replica, *part)

        monkeypatch.setattr(replica, "accumulate_gradients", meet)
    threads.accumulate_gradients(*batch)


def test_replicas_share_the_weights_and_not_the_gradients(rng):
    model = random_model(tiny(), rng)
    replica = model.replica(np.zeros_like(model.parameters.grad), recompute=True)
    model.parameters.data += 1
    assert (replica.parameters["embedding.weight"].data == model.parameters["embedding.weight"].data).all()
    assert not np.shares_memory(replica.parameters.grad, model.parameters.grad)
    assert all(isinstance(block, RecomputedBlock) for block in replica.blocks)
    assert not any(isinstance(block, RecomputedBlock) for block in model.blocks)


def test_a_recomputed_block_keeps_its_input_alone(batch, rng):
    model = random_model(tiny(), rng)
    _, trace = model.replica(model.parameters.grad, recompute=True).forward(batch[0])
    _, whole = model.forward(batch[0])
    assert all(
        (kept.x == block.attention_residual.x).all() for kept, block in zip(trace.blocks, whole.blocks, strict=True)
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_validation_in_threads_gives_the_bits_of_one(threads, verse, monkeypatch):
    monkeypatch.setattr("tlab.training.trainer.VALIDATION_TOKENS", 16)  # many batches of two windows
    trainer = trainer_on(verse, ComputeConfig(threads=threads))
    assert evaluate(trainer.model, verse.validation, threads=trainer.batch_threads) == evaluate(
        trainer.model, verse.validation
    )


# --- how many ---


def decided(compute=ComputeConfig(), batch_size=16, operations=1e12):  # noqa: B008, frozen
    return decide_threads(compute, batch_size, operations).threads


def test_by_default_there_are_no_more_threads_than_the_blas_was_told(monkeypatch):
    monkeypatch.setattr("tlab.machine.os.sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr("tlab.machine.os.cpu_count", lambda: 8)
    for told in (1, 2):  # OpenBLAS never takes more than the machine has
        with threadpool_limits(told, user_api="blas"):
            allowed = max(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")
            assert decided() == min(allowed, told)


def test_by_default_there_are_no_more_threads_than_cores_or_sequences_and_none_for_little_work(monkeypatch):
    monkeypatch.setattr("tlab.training.parallel.allowed_threads", lambda: 8)
    assert decided() == 8
    assert decided(batch_size=3) == 3
    assert decided(ComputeConfig(micro_batches=4)) == 4
    assert decided(operations=1e6) == 1
    assert decided(batch_size=1) == 1
    assert decided(operations=4 * MIN_FLOPS_PER_THREAD) == 4  # each thread's part has to be worth it,
    assert decided(ComputeConfig(micro_batches=2), operations=4 * MIN_FLOPS_PER_THREAD) == 2  # of every piece


def test_where_nobody_has_decided_there_is_one_thread(rng):
    threads = BatchThreads(random_model(tiny(), rng), ComputeConfig())
    assert (threads.threads, threads.pool) == (1, None)


def test_an_explicit_number_is_kept_whatever_the_machine_has():
    assert decided(ComputeConfig(threads=7)) == 7


@pytest.mark.parametrize(
    "compute", [ComputeConfig(threads=6), ComputeConfig(threads=2, micro_batches=3), ComputeConfig(micro_batches=6)],
    ids=name,
)  # fmt: skip
def test_more_parts_than_sequences_are_refused(compute, verse):
    with pytest.raises(ConfigError, match="micro_batches times threads must be at most 5"):
        trainer_on(verse, compute)


def test_a_run_records_how_it_was_computed_and_a_resumed_one_keeps_it(verse, tmp_path):
    compute = ComputeConfig(threads=2, micro_batches=2, recompute=True)
    whole = trainer_on(verse, compute)
    list(whole)
    part = trainer_on(verse, compute)
    next(iter(part))
    part.checkpoint().save(tmp_path)
    resumed = Trainer.resume(Checkpoint.load(tmp_path), verse)
    assert resumed.compute == compute
    list(resumed)
    assert numbers(resumed.records) == numbers(whole.records)
    assert (resumed.model.parameters.data == whole.model.parameters.data).all()


def test_a_run_may_be_resumed_in_another_way(verse):
    checkpoint = trainer_on(verse, ComputeConfig(threads=2)).checkpoint()
    assert Trainer.resume(checkpoint, verse, compute=ComputeConfig(threads=1)).compute.threads == 1


def test_the_decision_is_what_is_recorded_and_not_the_wish(verse):
    trainer = trainer_on(verse, ComputeConfig())
    assert trainer.checkpoint().compute == dataclasses.replace(ComputeConfig(), threads=trainer.batch_threads.threads)


# --- the BLAS ---


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_the_blas_has_one_thread_during_a_step_and_its_own_again_afterwards(verse, monkeypatch):
    trainer = trainer_on(verse, ComputeConfig(threads=2))
    seen = []
    usual = trainer.model.accumulate_gradients
    monkeypatch.setattr(
        trainer.model, "accumulate_gradients", lambda *part: (seen.extend(blas_threads()), usual(*part))[1]
    )
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        trainer.train_step()
        assert blas_threads() == before
    assert seen and set(seen) == {1}


def test_the_last_to_leave_puts_the_threads_of_the_blas_back():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        one, other = one_blas_thread(), one_blas_thread()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        other.__exit__(None, None, None)
        assert blas_threads() == before


# --- trouble ---


@pytest.mark.parametrize("whose", [0, 1])
def test_an_error_in_a_thread_comes_out_when_all_have_ended(whose, batch, rng, monkeypatch):
    threads = BatchThreads(random_model(tiny(), rng), ComputeConfig(threads=2))
    ended = []

    def fail(*part):
        raise MemoryError("no more")

    def take_long(*part):
        time.sleep(0.05)
        ended.append(True)
        return 0.0, None

    monkeypatch.setattr(threads.replicas[whose], "accumulate_gradients", fail)
    monkeypatch.setattr(threads.replicas[1 - whose], "accumulate_gradients", take_long)
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(MemoryError, match="no more"):
            threads.accumulate_gradients(*batch)
        assert (ended, blas_threads()) == ([True], before)


@pytest.mark.parametrize("where", [0, 1])
def test_ctrl_c_in_a_step_of_two_threads_leaves_none_at_work_and_a_run_that_goes_on(where, verse, monkeypatch):
    usual_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    whole, trainer = (trainer_on(verse, ComputeConfig(threads=2)) for _ in range(2))
    list(whole)
    try:
        for record in trainer:
            if record.step == 3:
                break
        replica = trainer.batch_threads.replicas[where]
        usual = type(replica).accumulate_gradients
        ended = []

        def interrupted(*part):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            ended.append(True)
            return usual(replica, *part)

        with monkeypatch.context() as patch:
            patch.setattr(replica, "accumulate_gradients", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trainer.train_step()
        assert where == 0 or ended  # the helper came to its end before the error came out
        list(trainer)
    finally:
        signal.signal(signal.SIGINT, usual_handler)
    assert numbers(trainer.records) == numbers(whole.records)
    assert (trainer.model.parameters.data == whole.model.parameters.data).all()


def test_an_error_ends_a_long_validation_before_its_end(rng):
    threads = BatchThreads(random_model(tiny(), rng), ComputeConfig(threads=2))
    done = []

    def task(item):
        if item == 0:
            raise KeyboardInterrupt
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        threads.map(task, range(200))
    assert len(done) < 100  # the helper's share


def test_helpers_end_with_their_crew(rng):
    before = set(threading.enumerate())  # helpers of an earlier test may be among them, and about to end
    threads = BatchThreads(random_model(tiny(), rng), ComputeConfig(threads=3))
    threads.map(lambda item: time.sleep(0.01), range(6))
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 2
    del threads
    for helper in helpers:
        helper.join(timeout=5)
    assert not any(helper.is_alive() for helper in helpers)


def test_an_overflow_in_a_helper_is_a_divergence_and_no_warning(verse):
    trainer = trainer_on(verse, ComputeConfig(threads=2), norm="none", activation="relu")
    trainer.model.parameters["blocks.0.mlp.up.weight"].data[...] = 1e30
    trainer.model.parameters["blocks.0.mlp.down.weight"].data[...] = 1e30
    (record,) = list(trainer)
    assert record.divergence is not None and record.divergence.where.startswith("blocks.0.mlp")


def test_threads_have_the_memory_of_products_touched_for_as_many_of_them(monkeypatch, rng):
    touched = []
    monkeypatch.setattr("tlab.training.parallel.touch_product_memory", touched.append)
    BatchThreads(random_model(tiny(), rng), ComputeConfig(threads=3))
    assert touched == [3]
