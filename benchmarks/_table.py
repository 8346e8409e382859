"""What every benchmark prints: a small table of medians, with ratios to a peer of the same run."""

import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence


def median_of(rounds: int, measure: Callable[[], float]) -> float:
    """Return the median of several rounds: a busy machine disturbs single ones."""
    return statistics.median(measure() for _ in range(rounds))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    lines = [tuple(head), *(tuple(_text(cell) for cell in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    print(f"{title} [Python {platform.python_version()} in {sys.base_prefix}]")
    for line in lines:
        first, *rest = (cell for cell in line)
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
