"""Texts made by rule, of which it is known what a model can learn: how far it is from that is no matter of opinion."""

from __future__ import annotations

import math

import numpy as np

from tlab.text.corpora import CORPORA, Synthetic
from tlab.types import Ids

SYNTHETIC_CHARACTERS = 200_000  # several passes a minute for a small model, and too much to learn by heart


@CORPORA.add("repeat", label="Repeated blocks", source="Olsson et al. 2022, induction heads")
class Repeat(Synthetic):
    """Lines such as "qhxbtwna qhxbtwna": random letters, then the same letters again.

    Notice: nothing predicts the first copy, at about 3 nats per letter (26 to choose from, fewer with each one
    used). The second is certain, but for its first letter and its end, for a head that finds the letter before and
    copies what followed it. No letter comes twice in a block, so there is one such place; blocks differ in length, so
    counting back fails.
    """

    answers_after = " "
    shortest, longest = 8, 16  # two copies of the longest fit into a context of 64

    def text(self) -> str:
        rng = np.random.default_rng(self.seed)
        count = SYNTHETIC_CHARACTERS // (self.shortest + self.longest + 2)  # two copies, a space, a line's end
        letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
        shuffled = rng.permuted(np.tile(letters, (count, 1)), axis=1)  # (count, 26)
        lengths = rng.integers(self.shortest, self.longest + 1, size=count)
        blocks = [row[:length].tobytes().decode() for row, length in zip(shuffled, lengths, strict=True)]
        return "".join(f"{block} {block}\n" for block in blocks)

    def line_nats(self, line: str) -> float:
        length = len(line) // 2
        return math.log(self.longest - self.shortest + 1) + sum(math.log(26 - i) for i in range(length))


@CORPORA.add("addition", label="Addition", source="sums of two numbers below 140")
class Addition(Synthetic):
    """Lines such as "12+34=46": every sum of two numbers below 140, each once, in random order.

    Notice: no sum of the validation part was seen in training, so a right answer there was not remembered, but
    for its twin with the summands swapped. The summands are random; only what follows "=" can be learned.
    """

    answers_after = "="
    limit = 140  # 140 * 140 lines are about 200,000 characters

    def text(self) -> str:
        order = np.random.default_rng(self.seed).permutation(self.limit * self.limit)
        first, second = np.divmod(order, self.limit)
        return "".join(f"{a}+{b}={a + b}\n" for a, b in zip(first.tolist(), second.tolist(), strict=True))

    def line_nats(self, line: str) -> float:
        return 2 * math.log(self.limit)


@CORPORA.add("brackets", label="Balanced brackets", source="Dyck language of four kinds")
class Brackets(Synthetic):
    """Lines such as "([]{<>})": brackets of four kinds, every one closed, and never across another.

    Notice: whether a bracket opens or closes is random, but *which* one closes depends on the last one still open,
    however far back. A line's end comes only where nothing is open.
    """

    kinds = ("()", "[]", "{}", "<>")
    fewest, most = 4, 24  # pairs a line; the longest line fits into a context of 64

    def text(self) -> str:
        rng = np.random.default_rng(self.seed)
        count = SYNTHETIC_CHARACTERS // (self.fewest + self.most + 1)  # twice the mean of pairs, a line's end
        numbers = rng.integers(self.fewest, self.most + 1, size=count).tolist()
        return "".join(f"{self.line(rng, pairs)}\n" for pairs in numbers)

    def line(self, rng: np.random.Generator, pairs: int) -> str:
        """`pairs` pairs: a coin decides between opening and closing wherever both are possible."""
        kinds = [self.kinds[i] for i in rng.integers(len(self.kinds), size=pairs)]
        written, still_open = [], []
        for heads in rng.random(2 * pairs) < 0.5:
            if kinds and (heads or not still_open):
                kind = kinds.pop()
                written.append(kind[0])
                still_open.append(kind[1])
            else:
                written.append(still_open.pop())
        return "".join(written)

    def line_nats(self, line: str) -> float:
        pairs, opened, num_open, num_free = len(line) // 2, 0, 0, 0
        for character in line:
            num_free += opened < pairs and num_open > 0  # both were possible: a coin decided
            is_opening = any(character == kind[0] for kind in self.kinds)
            opened += is_opening
            num_open += 1 if is_opening else -1
        number = math.log(self.most - self.fewest + 1)
        return number + pairs * math.log(len(self.kinds)) + num_free * math.log(2)


class Questions(Synthetic):
    """Lines of 16 characters, a question, "=", and its answer: as many of them as a context of 64 holds are whole."""

    answers_after = "="
    length = 7  # of the question, and of the answer

    def questions(self, rng: np.random.Generator) -> Ids:
        """(lines, length), as ASCII codes."""
        letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
        return rng.choice(letters, (SYNTHETIC_CHARACTERS // (2 * self.length + 2), self.length))

    def answer(self, question: str) -> str:
        """What follows from the question."""
        raise NotImplementedError

    def text(self) -> str:
        rows = self.questions(np.random.default_rng(self.seed))
        asked = [row.astype(np.uint8).tobytes().decode() for row in rows]
        return "".join(f"{question}={self.answer(question)}\n" for question in asked)

    def line_nats(self, line: str) -> float:
        return self.length * math.log(26)


@CORPORA.add("copy", label="Copy", source="Graves et al. 2014, section 4.1")
class Copy(Questions):
    """Lines such as "qhxbtwn=qhxbtwn": seven random letters, then the same letters again.

    Notice: all blocks are equally long, so a head that always looks seven tokens back is enough; letters may come
    twice, so one that looks for what followed the same letter before is not. In "repeat" it is the other way round.
    """

    def answer(self, question: str) -> str:
        return question


@CORPORA.add("reverse", label="Reverse", source="Weiss et al. 2021")
class Reverse(Questions):
    """Lines such as "qhxbtwn=nwtbxhq": seven random letters, then the same letters from the last to the first.

    Notice: each letter of the answer is further back than the one before it, so no head can look at one distance.
    """

    def answer(self, question: str) -> str:
        return question[::-1]


@CORPORA.add("sort", label="Sort", source="Weiss et al. 2021")
class Sort(Questions):
    """Lines such as "qhxbtwn=bhnqtwx": seven random letters, then the same letters in the order of the alphabet.

    Notice: which letter is next depends on all seven, and on how many of them the answer has already.
    """

    def answer(self, question: str) -> str:
        return "".join(sorted(question))


@CORPORA.add("parity", label="Parity", source="Hahn 2020")
class Parity(Questions):
    """Lines such as "0110100110110=1": thirteen bits, then whether the number of ones is odd; none twice.

    Notice: one bit turned over turns the answer over, so whoever misses a single one can only toss a coin. No line of
    the validation part was seen in training. There are 8,190 of the 8,192 questions, so that the last tenth of the text
    is whole lines.
    """

    length, count = 13, 8190

    def questions(self, rng: np.random.Generator) -> Ids:
        numbers = rng.permutation(2**self.length)[: self.count, None]
        return (numbers >> np.arange(self.length) & 1) + ord("0")

    def answer(self, question: str) -> str:
        return str(question.count("1") % 2)

    def line_nats(self, line: str) -> float:
        return self.length * math.log(2)


@CORPORA.add("modular", label="Modular addition", source="Power et al. 2022, on grokking")
class Modular(Synthetic):
    """Lines such as "a+Q = s": sums modulo 59 of two numbers, each number one character; every pair once.

    Notice: no pair of the validation part was seen in training, but for nine in ten its twin with the summands swapped
    was. Nothing about a character says which number it is: who is right on the rest, too, has found more than pairs,
    such as the circle on which the numbers lie.
    """

    answers_after = "= "
    prime = 59
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # of which the first 59 are used

    def text(self) -> str:
        order = np.random.default_rng(self.seed).permutation(self.prime**2)
        first, second = (numbers.tolist() for numbers in np.divmod(order, self.prime))
        return "".join(
            f"{self.digits[a]}+{self.digits[b]} = {self.digits[(a + b) % self.prime]}\n"
            for a, b in zip(first, second, strict=True)
        )

    def line_nats(self, line: str) -> float:
        return 2 * math.log(self.prime)
