"""Break the core in one place at a time; every break has to fail a test. Run: python tests/mutations.py

Each mutation is a text that stands exactly once in a file and what to put in its place. It is tried in a copy of the
repository, with those tests that judge the mathematics. A mutation that no test sees is a test that is missing.
"""

import os
import sys
import tempfile
from pathlib import Path

from breaks import ROOT, Break, copied, prepare, tried

PATIENCE = 300.0  # seconds that a run of tests may take; one that hangs has failed
# Run one after the other: most breaks are seen within a second or two by the first, whose files are the quickest.
RUNS = [
    ["training/test_optimizers.py", "training/test_dropout.py", "training/test_trainer.py", "nn/test_residuals.py"],
    ["nn/test_model.py", "nn/test_further_switches.py", "nn/test_gradients.py", "training/test_parallel.py"],
    ["nn/test_decoder.py", "test_generate.py", "nn/test_meaning.py", "nn/test_long_contexts.py"],
]
TESTS = [name for names in RUNS for name in names]

MUTATIONS = [
    # activations
    ("nn/activations.py", "return dy * (x > 0)", "return dy * (x >= -1)"),
    ("nn/activations.py", "slope *= 6 * self.CUBIC", "slope *= 2 * self.CUBIC"),
    ("nn/activations.py", "slope += 2 * self.SLOPE", "slope += self.SLOPE"),
    ("nn/activations.py", "np.multiply(x - y, slope", "np.multiply(x + y, slope"),
    ("nn/activations.py", "        dx += 1\n", ""),
    ("nn/activations.py", "    slope += 1\n", ""),
    ("nn/activations.py", "    slope *= x\n", ""),
    ("nn/activations.py", "dx = dy * activated_gate", "dx = dy * gate"),
    ("nn/activations.py", "        dgate *= x\n", ""),
    ("nn/activations.py", "        u *= self.CUBIC", "        u *= 2 * self.CUBIC"),
    ("nn/activations.py", "        dx *= 2\n", ""),
    ("nn/activations.py", "dactivated_gate = dy * cache.x", "dactivated_gate = dy"),
    ("nn/activations.py", "cdf = np.where(x > 0, 1 - tail, tail)", "cdf = 1 - tail"),
    ("nn/activations.py", "        dx *= self.PEAK\n", ""),
    # schedules
    ("training/schedules.py", "peak * math.sqrt(first / step)", "peak * math.sqrt(1 / step)"),
    ("training/schedules.py", "DECAY_SHARE: ClassVar[float] = 0.2", "DECAY_SHARE: ClassVar[float] = 0.25"),
    # norms
    ("nn/norms.py", "        dx -= along_ones\n", ""),
    ("nn/norms.py", "        dx -= along_ones\n        dx -= normalized * along_normalized\n", "        dx -= along_ones\n"),
    ("nn/norms.py", "same memory\n        dx -= normalized * along_normalized\n", "same memory\n"),
    ("nn/norms.py", 'if "forward" in vars(cls):', "if False:"),
    ("nn/norms.py", "self.shift.grad += sum_rows(dy_rows)", "self.shift.grad -= sum_rows(dy_rows)"),
    ("nn/norms.py", "mean = mean_over_channels(rows)  # (N, 1)", "mean = rows.mean(0)"),
    ("nn/norms.py", "scale[:, None] * (1 / len(scale))", "np.ones_like(scale[:, None]) * (1 / len(scale))"),
    ("nn/norms.py", "        np.subtract(1, dinner, out=dinner)\n", ""),
    ("nn/norms.py", "        dinner *= self.alpha.data\n", ""),
    ("nn/norms.py", "np.vdot(dinner, x)", "np.vdot(dinner, squashed)"),
    ("nn/norms.py", "np.divide(self.squash(x), x, out", "np.divide(x, x, out"),
    ("nn/norms.py", "mean_square = mean_over_channels(rows * rows)", "mean_square = mean_over_channels(abs(rows))"),
    # linear and embedding
    ("nn/linear.py", "self.weight.grad += as_rows(x).T @ dy_rows", "self.weight.grad += 0.5 * (as_rows(x).T @ dy_rows)"),
    ("nn/linear.py", "            self.bias.grad += sum_rows(dy_rows)  # (C_out,)\n", "            pass\n"),
    ("nn/linear.py", "(dy_rows @ self.weight.data.T).reshape(x.shape)", "(dy_rows @ -self.weight.data.T).reshape(x.shape)"),
    ("nn/linear.py", "self.weight.grad += one_hot.T @ as_rows(dx)", "self.weight.grad[...] = one_hot.T @ as_rows(dx)"),
    ("nn/linear.py", "self.weight.grad[tokens] += np.add", "self.weight.grad[tokens] = np.add"),
    ("nn/linear.py", "np.add.reduceat(dx[order], starts)", "np.add.reduceat(dx, starts)"),
    ("nn/linear.py", "one_hot[np.arange(ids.size), ids.ravel()] = 1", "one_hot[np.arange(ids.size), ids.ravel()[::-1]] = 1"),
    ("nn/linear.py", "        self.weight.grad += dlogits_rows.T @ as_rows(x)  # (V, C)\n", ""),
    ("nn/linear.py", "y += self.bias.data", "y -= self.bias.data"),
    # loss
    ("nn/loss.py", "dlogits[np.arange(N), targets] -= share / N", "dlogits[np.arange(N), targets] -= share"),
    ("nn/loss.py", "dlogits = probabilities * (share / N)", "dlogits = -probabilities * (share / N)"),
    ("nn/loss.py", "dlogits = probabilities * (share / N)", "dlogits = probabilities * (1.0 / N)"),
    ("nn/loss.py", "np.mean(np.log(totals[:, 0]) - target_logits)", "np.sum(np.log(totals[:, 0]) - target_logits)"),
    ("nn/loss.py", "2 * self.weight * share / len(dlogits)", "2 * self.weight / len(dlogits)"),
    ("nn/loss.py", "        dlogits -= moved / V\n", ""),
    ("nn/loss.py", "moved = self.smoothing * share / N", "moved = self.smoothing / N"),
    ("nn/loss.py", "as_rows(self.cross_entropy.backward(", "as_rows(CrossEntropy.backward("),
    ("nn/model.py", "        other.loss = self.loss\n", ""),
    # positions
    ("nn/positions.py", "rotate_by(-1, dqueries", "rotate_by(+1, dqueries"),
    ("nn/positions.py", "[[zero, one], [-one, zero]]", "[[zero, one], [one, zero]]"),
    ("nn/positions.py", "[[zero, one], [-one, zero]]", "[[zero, -one], [one, zero]]"),
    ("nn/positions.py", "base ** (-np.arange(half) / half)\n    angle", "10_000 ** (-np.arange(half) / half)\n    angle"),
    ("nn/positions.py", "+= dx.sum(axis=0)", "+= dx.mean(axis=0)"),
    ("nn/positions.py", "return both[0], both[1]", "return both[0], both[0]"),
    ("nn/positions.py", "[:, None] * -offsets(length)", "[:, None] * offsets(length)"),
    ("nn/positions.py", "self.bias.grad[:, head] += np", "self.bias.grad[:, 0] += np"),
    ("nn/positions.py", "shifted[:, ::-1, :S]", "shifted[:, :, :S]"),
    ("nn/positions.py", "buckets[:S] = self", "buckets[-S:] = self"),
    ("nn/positions.py", "(-offsets(length)).clip(0)]", "(-offsets(length)).clip(0, 16)]"),
    ("nn/decoder.py", "NO_MAX_SHIFT_BELOW - raised", "NO_MAX_SHIFT_BELOW"),
    ("nn/positions.py", "between[::2][: num_heads - power]", "between[1::2][: num_heads - power]"),
    ("nn/positions.py", "np.where(channel % 2 == 0, np.sin(angle), np.cos(angle))", "np.sin(angle + channel)"),
    # attention
    ("nn/attention.py", "offsets(length) > 0", "offsets(length) > 1"),
    ("nn/scores/softmaxes.py", "dweights -= mean_by_weight", "dweights += mean_by_weight"),
    ("nn/scores/softmaxes.py", "    dweights *= weights  # (B, H, T, S)\n", ""),
    ("nn/attention.py", "            self.position.score_bias_backward(dscores)\n", ""),
    ("nn/attention.py", "return heads[:, :H], heads[:, H : H + Hk], heads[:, H + Hk :]", "return heads[:, :H], heads[:, H + Hk :], heads[:, H : H + Hk]"),
    ("nn/attention.py", "            dscores *= self.scale  # (B, H, T, S)\n", ""),
    ("nn/attention.py", "        scores *= self.scale  # 1 / sqrt(D)\n", ""),
    ("nn/attention.py", "self.scale = 1.0 / math.sqrt(self.head_dim)", "self.scale = 1.0 / math.sqrt(hidden_dim)"),
    ("nn/attention.py", "seen = slice(keys.shape[2] - T + rows.stop)", "seen = slice(keys.shape[2])"),
    ("nn/attention.py", "weights, cap = kept.pop() if kept", "weights, cap = kept.pop(0) if kept"),
    ("nn/attention.py", "        out += a @ b\n", "        out[...] = a @ b\n"),
    ("nn/attention.py", "put_product(dscores.swapaxes(-1, -2), queries", "put_product(dscores, queries"),
    ("nn/attention.py", "put_product(weights.swapaxes(-1, -2), dattended", "put_product(weights, dattended"),
    ("nn/attention.py", "np.matmul(dscores, keys[given], out=dqueries", "np.matmul(dscores, queries[given], out=dqueries"),
    ("nn/attention.py", 'if "heads" in self.position.acts_on:', "if False:"),
    ("nn/attention.py", "self.begin += forget", "self.begin += 0"),
    ("nn/attention.py", "self.position += T", "self.position += 1"),
    ("nn/scores/softmaxes.py", "highest <= NO_MAX_SHIFT_BELOW and lowest >= -NO_MAX_SHIFT_BELOW", "True"),
    ("nn/scores/softmaxes.py", "highest <= NO_MAX_SHIFT_BELOW and lowest >= -NO_MAX_SHIFT_BELOW", "highest <= NO_MAX_SHIFT_BELOW"),
    ("nn/scores/softmaxes.py", "scores.max() + mask.max()", "scores.max()"),
    ("nn/scores/softmaxes.py", "scores.min() + own.min()", "scores.min()"),
    ("nn/attention.py", "expanded = copy.copy(self)", "expanded = self"),
    ("nn/attention.py", "self.begin, self.end = 0, kept.shape[-2]", "self.end = kept.shape[-2]"),
    ("nn/decoder.py", "if cache.both is not self.laid_out:", "if False:"),
    ("nn/attention.py", "self.position = self.begin = self.end = 0", "self.begin = self.end = 0"),
    ("nn/attention.py", "                dscores = self.score_cap.backward(dscores, cap)\n", "                pass\n"),
    ("nn/attention.py", "self.q_norm.backward(self.as_normed(dqueries), norms[0])", "self.q_norm.backward(self.as_normed(dqueries), norms[1])"),
    ("nn/attention.py", "            dx = dx + dx_of_gate\n", "            pass\n"),
    ("nn/attention.py", "        dlinear *= gate\n", ""),
    ("nn/attention.py", "        return dgated * gate, dgate", "        return dgated, dgate"),
    ("nn/attention.py", "dattended = self.out.backward(dy, trace.gated)", "dattended = self.out.backward(dy, attended)"),
    ("nn/decoder.py", "attended * sigmoid(self.gate(x))", "attended * self.gate(x)"),
    ("nn/decoder.py", "query *= self.scale", "query *= 1.0"),
    ("nn/attention.py", "np.repeat(heads, self.group_size, axis=1)", "np.concatenate([heads] * self.group_size, axis=1)"),
    ("nn/scores/softmaxes.py", "np.exp(rest - largest)", "np.exp(rest)"),
    ("nn/scores/softmaxes.py", "self.sink.grad -= ", "self.sink.grad += "),
    ("nn/scores/caps.py", "        np.subtract(1, dx, out=dx)\n", ""),
    ("nn/decoder.py", "            scores, _ = self.score_cap.forward(scores)\n", "            pass\n"),
    ("nn/model.py", "dlogits = self.logit_cap.backward(dlogits, trace.logit_cap_cache)", "pass"),
    # decoder
    ("nn/decoder.py", "= attention.scale\n            self.qkv", "= 1.0\n            self.qkv"),
    ("nn/decoder.py", "begin, end = cache.begin, cache.end + 1", "begin, end = 0, cache.end + 1"),
    ("nn/decoder.py", "if not is_moderate:\n            scores -= np.max", "if False:\n            scores -= np.max"),
    ("nn/decoder.py", 'if "scores" in position.acts_on:', "if False:"),
    ("nn/decoder.py", "self.values[:, cache.end : end] = value", "self.values[:, cache.end : end] = key"),
    ("nn/decoder.py", "position.rotate(query, key, cache.position)", "position.rotate(query, key, cache.end)"),
    ("nn/decoder.py", "        attended /= weights.dot(self.ones[: end - begin])\n", ""),
    ("nn/decoder.py", "shifted if bias is None else shifted + bias", "shifted if bias is None else bias"),
    ("nn/decoder.py", "deviation *= rstd(deviation, epsilon)", "deviation *= rstd(x, epsilon)"),
    ("nn/decoder.py", "        y *= scale\n", ""),
    ("nn/decoder.py", "            y += shift\n", "            pass\n"),
    # mlp
    ("nn/mlp.py", "parts[0] + parts[1] if self.activation.gated else parts[0]", "parts[0]"),
    # residual layouts
    ("nn/decoder.py", "            x = x + added\n", "            x = added\n"),
    ("nn/decoder.py", "if block.layout.only_norms_differ:", "if True:"),
    ("nn/residuals.py", "added, mlp_trace = mlp(x)", "added, mlp_trace = mlp(between)"),
    ("nn/residuals.py", "dx + attention(dy, trace[0].branch)", "dx + attention(dx, trace[0].branch)"),
    ("nn/residuals.py", "dy = dtotal + run(dtotal, residual.branch)", "dy = dtotal - run(dtotal, residual.branch)"),
    ("nn/residuals.py", "dy = dtotal + run(dtotal, residual.branch)", "dy = dtotal + run(dy, residual.branch)"),
    ("nn/residuals.py", "df = self.norm_out.backward(dadded, trace.norm_out) if self.norm_out else dadded", "df = dadded"),
    ("nn/residuals.py", "return self.norm_in.backward(dh, trace.norm_in) if self.norm_in else dh", "return dh"),
    ("nn/residuals.py", "total = x + added", "total = x - added"),
    ("nn/residuals.py", '.isdisjoint({"__init__", "forward", "backward"})', '.isdisjoint({"backward"})'),
    # the memory rule: nothing overwrites what it was given
    ("nn/residuals.py", "total = x + added", "x += added; total = x"),
    ("nn/activations.py", "y = x * cdf\n        return y, GeluCache", "y = x; y *= cdf\n        return y, GeluCache"),
    # model
    ("nn/model.py", "self.position.embed_backward(dx, trace.start)", "pass"),
    ("nn/model.py", "dx * self.config.embedding_scale, trace.ids", "dx, trace.ids"),
    ("nn/model.py", "dx = self.final_norm.backward(dx, trace.final_norm_cache)", "pass"),
    ("nn/model.py", "for i in reversed(range(len(self.blocks)))", "for i in range(len(self.blocks))"),
    ("nn/model.py", "        space.grad[...] = 0\n", ""),
    ("nn/inits.py", "1.0 / math.sqrt(2 * self.num_layers)", "1.0 / math.sqrt(self.num_layers)"),
    ("nn/model.py", "self.block.forward(trace.x, None, None, drop,", "self.block.forward(dx, None, None, drop,"),
    ("nn/model.py", "None, None, drop, trace.given_values)", "None, None, None, trace.given_values)"),
    ("nn/attention.py", "            dvalues += dfirst_values.total\n", "            pass\n"),
    ("nn/attention.py", "        return dmixed - dfirst, dfirst\n", "        return dmixed, dfirst\n"),
    ("nn/attention.py", "self.share.grad += np.sum(dmixed * gap)", "self.share.grad -= np.sum(dmixed * gap)"),
    ("nn/attention.py", "        self.total = self.total + dfirst\n", "        self.total = dfirst\n"),
    ("nn/decoder.py", "            value, *_ = self.mix_values(", "            self.mix_values("),
    ("nn/model.py", "other.parameters.lay_out(self.parameters.data, grad)", "other.parameters.lay_out(self.parameters.data.copy(), grad)"),
    # threads and pieces
    ("training/parallel.py", "                replica.parameters.grad[...] = 0\n", "                pass\n"),
    ("training/trainer.py", "share = 1 - self.train_config.ema_decay if self.step > 1 else 1", "share = 1 - self.train_config.ema_decay"),
    ("training/trainer.py", "evaluate(self.result, self.corpus", "evaluate(self.model, self.corpus"),
    ("training/trainer.py", "return {**self.optimizer.state, **live}", "return self.optimizer.state"),
    ("training/parallel.py", "for other in grads[1:]:", "for other in grads[2:]:"),
    ("training/parallel.py", "len(rows) / B, own))", "1 / self.threads, own))"),
    ("training/parallel.py", "dropout.from_row(int(rows[0]))", "dropout"),
    ("training/dropout.py", "        left *= 1 / (1 - self.rate)\n", ""),
    ("training/dropout.py", "[self.seed, self.step, zlib.crc32(place.encode())]", "[self.seed, zlib.crc32(place.encode())]"),
    ("nn/model.py", 'dx = drop("embedded", dx) if drop is not None else dx', "pass"),
    ("training/parallel.py", "part.share * replica.accumulate_gradients", "replica.accumulate_gradients"),
    ("training/parallel.py", "results[i % self.threads][i // self.threads]", "results[i // self.threads % self.threads][i % self.threads]"),
    ("training/parallel.py", "                    wait(others)\n", "                    pass\n"),
    ("training/parallel.py", "                stop.set()\n", "                pass\n"),
    ("training/parallel.py", "with np.errstate(**errors):", "if True:"),
    ("machine.py", "if not OneThread.inside:\n                OneThread.before.restore", "if OneThread.inside:\n                OneThread.before.restore"),
    # training and sampling
    ("training/optimizers.py", "grad *= max_norm / norm", "grad *= max_norm"),
    ("training/optimizers.py", "denominator += self.epsilon", "denominator -= 0.1"),
    ("training/optimizers.py", "space.data[: space.num_decayed] *= 1 -", "space.data *= 1 -"),
    ("training/optimizers.py", "        denominator *= 1 / math.sqrt(1 - beta2**t)\n", ""),
    ("training/optimizers.py", "update = self.orthogonalize(self.MOMENTUM * m + (1 - self.MOMENTUM) * g)", "update = self.orthogonalize(m)"),
    ("training/optimizers.py", "math.sqrt(max(1, w.shape[1] / w.shape[0]))\n        w -=", "math.sqrt(max(1, w.shape[0] / w.shape[1]))\n        w -="),
    ("training/optimizers.py", "polynomial.ravel()[:: len(x) + 1] += a", "polynomial += a"),
    ("training/optimizers.py", 'rate = learning_rate if param.role == "matrix" else adam_rate', "rate = learning_rate"),
    ("training/config.py", "self.learning_rate * step / first", "self.learning_rate * step / self.warmup_steps"),
    ("training/trainer.py", "return Batch(windows[:, :-1], windows[:, 1:])", "return Batch(windows[:, :-1], windows[:, :-1])"),
    ("training/trainer.py", "rng = np.random.default_rng([seed, step])", "rng = np.random.default_rng([seed])"),
    ("training/trainer.py", "        space.grad[...] = 0\n", ""),
    ("generate.py", "texts[:, :kept] = texts[:, -kept:]", "texts[:, :kept] = texts[:, :kept]"),
    ("generate.py", "            cache.clear()\n", "            cache = model.new_cache(samples + 1)\n"),
    ("generate.py", "np.searchsorted(reached, top_p)) + 1", "np.searchsorted(reached, top_p))"),
    ("generate.py", "math.isfinite(logits.dot(logits))", "math.isfinite(logits[0])"),
    ("generate.py", "max(temperature, MIN_TEMPERATURE)", "temperature"),
    ("generate.py", "Writer(tokenizer, sampling, seed + i,", "Writer(tokenizer, sampling, seed,"),
    ("generate.py", "np.where(own > 0, own / penalty, own * penalty)", "own / penalty"),
    ("generate.py", "            self.recent.append(token_id)\n", "            pass\n"),
    ("generate.py", "_, filtered = scale_and_filter", "filtered, _ = scale_and_filter"),
]  # fmt: skip


def as_break(mutation):
    """A mutation as a break of its file."""
    file, old, new = mutation
    text = (ROOT / "tlab" / file).read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise SystemExit(f"{file} holds {old!r} {text.count(old)} times, not once: mend the list of mutations")
    source = text.replace(old, new)
    compile(source, file, "exec")  # what is no Python fails each test, and says nothing of any
    words = f"{file}: {old.strip()!r} -> {new.strip()!r}"
    return Break(f"tlab/{file}", source, [[f"tests/{name}" for name in names] for names in RUNS], PATIENCE, words)


def main():
    """Try all; exit with 1 if one survives."""
    prepare()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [copied(Path(temporary) / str(number)) for number in range(os.cpu_count() or 1)]
        survivors = 0
        for one, failed in tried([as_break(mutation) for mutation in MUTATIONS], folders):
            survivors += not failed
            print(f"{'failed as it should' if failed else 'SURVIVED':20} {one.words}", flush=True)
    print(f"{len(MUTATIONS) - survivors} of {len(MUTATIONS)} mutations were seen by a test")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
