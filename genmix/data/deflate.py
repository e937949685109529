"""How far compressed bytes can expand, the limit that unmasks a decompression bomb."""

# The densest DEFLATE block writes 258 bytes with one length and one distance code of a bit each.
_MAX_RATIO = 258 * 8 // 2


def max_expansion(num_compressed: int) -> int:
    """Most bytes that `num_compressed` bytes of gzip or DEFLATE data can expand to.

    Source: Deutsch (1996), RFC 1951, sections 3.2.5 to 3.2.7.
    """
    return _MAX_RATIO * num_compressed
