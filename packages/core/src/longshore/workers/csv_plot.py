"""Draw a histogram or bars as PNG with the standard library alone. Python 3.8 or later."""

from __future__ import annotations

import math
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Sequence

WIDTH, HEIGHT = 960, 600
LEFT, RIGHT, TOP, BOTTOM = 110, 40, 96, 90
#: characters of the longest label, and of the longest number written out
LABEL, DIGITS = 24, 16
WHITE, INK, QUIET = (255, 255, 255), (38, 50, 56), (110, 120, 128)
GRID, BAR = (225, 230, 234), (54, 113, 181)

#: 5 x 7 dots per character from the space on, a byte per row
GLYPHS = bytes.fromhex(
    "00000000000000040404040000040a0a0a000000000a0a1f0a1f0a0a040f140e051e04181902040813030c1214"
    "0815120d0404040000000002040808080402080402020204080004150e1504000004041f040400000000000c04"
    "080000001f00000000000000000c0c000102040810000e11131519110e040c040404040e0e11010204081f1f02"
    "040201110e02060a121f02021f101e0101110e0608101e11110e1f0102040808080e11110e11110e0e11110f01"
    "020c000c0c000c0c00000c0c000c04080204081008040200001f001f0000080402010204080e1101020400040e"
    "11010d15150e0e1111111f11111e11111e11111e0e11101010110e1c12111111121c1f10101e10101f1f10101e"
    "1010100e11101711110f1111111f1111110e04040404040e0702020202120c111214181412111010101010101f"
    "111b1515111111111119151311110e11111111110e1e11111e1010100e11111115120d1e11111e1412110f1010"
    "0e01011e1f0404040404041111111111110e11111111110a041111111515150a11110a040a11111111110a0404"
    "041f01020408101f0e08080808080e001008040201000e02020202020e040a11000000000000000000001f0804"
    "020000000000000e010f110f1010161911111e00000e1010110e01010d1311110f00000e111f100e0609081c08"
    "0808000f11110f010e1010161911111104000c0404040e0200060202120c101012141814120c04040404040e00"
    "001a151511110000161911111100000e1111110e00001e111e101000000d130f01010000161910101000000e10"
    "0e011e08081c080809060000111111130d00001111110a040000111115150a0000110a040a11000011110f010e"
    "00001f0204081f02040408040402040404040404040804040204040800000815020000"
)


class Picture:
    """Pixels, and the few things that are drawn here."""

    def __init__(self) -> None:
        self.rows = [bytearray(bytes(WHITE) * WIDTH) for _ in range(HEIGHT)]

    def box(self, x: int, y: int, width: int, height: int, color: tuple[int, int, int]) -> None:
        """Fill a rectangle, as far as it lies in the picture."""
        x, right = max(0, x), min(WIDTH, x + width)
        if right > x:
            line = bytes(color) * (right - x)
            for row in self.rows[max(0, y) : max(0, y + height)]:
                row[3 * x : 3 * right] = line

    def text(self, x: int, y: int, text: str, color: tuple[int, int, int], scale: int = 2) -> None:
        """Write a line of text; what is not ASCII is written without its accents, or as ?."""
        for index, character in enumerate(plain(text)):
            glyph = 7 * (ord(character) - ord(" "))
            for row, bits in enumerate(GLYPHS[glyph : glyph + 7]):
                for column in range(5):
                    if bits >> (4 - column) & 1:
                        place = x + (6 * index + column) * scale
                        self.box(place, y + row * scale, scale, scale, color)

    def png(self) -> bytes:
        """Return the picture as PNG."""
        data = zlib.compress(b"".join(b"\0" + row for row in self.rows), 9)
        head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )


def plain(text: str) -> str:
    """Return ``text`` with the characters that there are glyphs for."""
    folded = (one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return "".join(one if " " <= one <= "~" else "?" for one in folded)


def short(text: str, most: int) -> str:
    """Return ``text``, cut to ``most`` characters."""
    return text if len(text) <= most else text[: most - 2] + ".."


def width_of(text: str, scale: int = 2) -> int:
    """Return the width of a line of text in pixels."""
    return (6 * len(plain(text)) - 1) * scale


def steps(low: float, high: float, most: int) -> list[float]:
    """Return round numbers between ``low`` and ``high``, at most ``most`` of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    step = next((power * one for one in (1, 2, 5, 10) if power * one >= rough), power)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, first + most + 1) if step * number <= high]


def numbers(low: float, high: float, length: int) -> list[tuple[float, str]]:
    """Return round numbers between ``low`` and ``high`` with their labels, none over another."""
    found: list[tuple[float, str]] = []
    for most in range(8, 0, -1):
        marks = steps(low, high, most)
        gap = marks[1] - marks[0] if len(marks) > 1 else high - low
        digits = max(0, -math.floor(math.log10(gap))) if gap > 0 else 0
        found = [(mark, label(mark, digits)) for mark in marks] or found
        room = gap / (high - low) * length
        labels = [text for _, text in found]
        if len(set(labels)) == len(labels) and all(width_of(one) + 24 <= room for one in labels):
            break
    return found


def label(mark: float, digits: int) -> str:
    """Return a number with so many digits after the point, or shorter."""
    text = f"{mark + 0.0:.{digits}f}" if digits < DIGITS and abs(mark) < 10.0**DIGITS else ""
    return text if 0 < len(text) <= DIGITS else f"{mark:.6g}"


def frame(title: str, note: str) -> Picture:
    """Return a picture with its title and a line below it."""
    picture = Picture()
    picture.text(40, 22, short(title, 48), INK, 3)
    picture.text(40, 56, short(note, 72), QUIET, 2)
    return picture


def axis(picture: Picture, left: int, most: int, *, upwards: bool) -> float:
    """Draw the grid and the numbers of an axis from 0 to ``most``; return pixels per unit."""
    length = HEIGHT - TOP - BOTTOM if upwards else WIDTH - left - RIGHT
    unit = length / (max(most, 1) * 1.05)
    for mark in steps(0, max(most, 1) * 1.05, 6):
        if mark != int(mark):
            continue
        text, at = f"{int(mark)}", round(mark * unit)
        if upwards:
            y = HEIGHT - BOTTOM - at
            picture.box(left, y, WIDTH - left - RIGHT, 1, GRID)
            picture.text(left - 12 - width_of(text), y - 7, text, QUIET)
        else:
            picture.box(left + at, TOP, 1, HEIGHT - TOP - BOTTOM, GRID)
            place = left + at - width_of(text) // 2
            picture.text(place, HEIGHT - BOTTOM + 14, text, QUIET)
    return unit


def histogram(title: str, note: str, low: float, step: float, bins: Sequence[int]) -> bytes:
    """Return a histogram: ``bins`` of the width ``step`` from ``low`` on."""
    picture = frame(title, note)
    unit = axis(picture, LEFT, max(bins), upwards=True)
    bottom, length = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
    for index, count in enumerate(bins):
        start = LEFT + length * index // len(bins)
        end = LEFT + length * (index + 1) // len(bins)
        height = max(2, round(count * unit)) if count else 0
        picture.box(start + 1, bottom - height, end - start - 2, height, BAR)
    picture.box(LEFT, bottom, length, 2, INK)
    high = low + step * len(bins)
    for mark, text in numbers(low, high, length):
        x = LEFT + round((mark - low) / (high - low) * length)
        picture.box(x - 1, bottom, 2, 8, INK)
        place = min(x - width_of(text) // 2, WIDTH - 8 - width_of(text))
        picture.text(place, bottom + 14, text, QUIET)
    name = "value"
    picture.text(LEFT + (length - width_of(name)) // 2, bottom + 46, name, INK)
    picture.text(LEFT - 12 - width_of("rows"), TOP - 16, "rows", INK)
    return picture.png()


def bars(title: str, note: str, values: Iterable[tuple[str, int]]) -> bytes:
    """Return horizontal bars, one per value."""
    rows = [(short(value, LABEL), count) for value, count in values]
    picture = frame(title, note if rows else "the column is empty")
    left = max(LEFT, 52 + max((width_of(text) for text, _ in rows), default=0))
    unit = axis(picture, left, max((count for _, count in rows), default=1), upwards=False)
    height = (HEIGHT - TOP - BOTTOM) // max(len(rows), 1)
    for index, (text, count) in enumerate(rows):
        y = TOP + index * height
        thick = min(height - 6, 40)
        picture.box(left, y + (height - thick) // 2, max(2, round(count * unit)), thick, BAR)
        picture.text(left - 12 - width_of(text), y + height // 2 - 7, text, INK)
    picture.box(left, TOP, 2, HEIGHT - TOP - BOTTOM, INK)
    name = "rows"
    place = left + (WIDTH - left - RIGHT - width_of(name)) // 2
    picture.text(place, HEIGHT - 44, name, INK)
    return picture.png()
