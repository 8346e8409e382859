"""What somebody may have meant by a word that nobody knows."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or the words that are known when none is close."""
    import difflib  # noqa: PLC0415 - only mistakes need it

    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(words[:20])}" if words else ""
