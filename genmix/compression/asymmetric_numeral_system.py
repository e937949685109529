"""A stack of symbols that takes -log2 of each one's probability in bits: range variant of ANS."""

import random
from collections.abc import Sequence

WORD = 32  # bits that move between the head and the tail at a time


class Message:
    """A head of up to 64 bits and a tail of words; what is pushed last is popped first.

    Popping from a message that holds nothing more gives bits of chance: `borrowed` counts their
    words, which a decoder hands back.

    Source: Duda (2009), arXiv:0902.0271, section 3; Townsend (2020), arXiv:2001.09186.
    """

    def __init__(self, words: Sequence[int] = (), seed: int = 0):
        self._random = random.Random(seed)
        *self._tail, high, low = words or (1, 0)
        self._head = high << WORD | low
        self.borrowed = 0
        if self._head < 1 << WORD:
            raise ValueError("words are no message: its head is too small.")

    def push(self, start: int, frequency: int, precision: int) -> None:
        """Add a symbol of probability frequency / 2^precision.

        Args:
            start: sum of the frequencies of the symbols before it in their order.
        """
        if self._head >= frequency << (2 * WORD - precision):
            self._tail.append(self._head & (1 << WORD) - 1)
            self._head >>= WORD
        quotient, rest = divmod(self._head, frequency)
        self._head = (quotient << precision) + start + rest

    def peek(self, precision: int) -> int:
        """A number below 2^precision, in the interval of the symbol that is on top."""
        return self._head & (1 << precision) - 1

    def pop(self, start: int, frequency: int, precision: int) -> None:
        """Take the symbol on top away, of whose interval `peek` has told."""
        self._head = frequency * (self._head >> precision) + self.peek(precision) - start
        if self._head < 1 << WORD:
            self._head = self._head << WORD | self._word()

    def shift(self, by: int, precision: int) -> None:
        """Move what `peek` tells by a number, in a circle: a shift back undoes it."""
        top = self.peek(precision)
        self._head += (top + by) % (1 << precision) - top

    def _word(self) -> int:
        if self._tail:
            return self._tail.pop()
        self.borrowed += 1
        return self._random.getrandbits(WORD)

    def with_borrowed(self, num_words: int) -> "Message":
        """An empty message that has borrowed so many words, and used none of them."""
        words = [self._word() for _ in range(num_words)]
        return Message([*reversed(words), 1, 0])

    def words(self) -> list[int]:
        """All of it, each below 2^32."""
        return [*self._tail, self._head >> WORD, self._head & (1 << WORD) - 1]
