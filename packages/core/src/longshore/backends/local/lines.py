"""The lines of an attempt's file: each says whose it is, and proves that it is whole.

The file has its size from the beginning and is written over in place, by one attempt after the
other: a file that grows costs a transaction of the file system whenever it is made durable. After
a loss of power it may therefore hold lines, or parts of them, of several attempts. A line counts
only for the attempt that it names, and when its checksum is right. What was never written is zero.
"""

from binascii import crc32

#: bytes of a new file; the order and the records of most attempts need half of it
SIZE = 8192


def seal(name: str, body: str) -> bytes:
    """Return ``body``, a JSON value, as a line of the attempt ``name``: itself JSON."""
    owner, content = name.encode(), body.encode()
    return b'["%b",%d,%b]\n' % (owner, crc32(content, crc32(owner)), content)


def unseal(name: str, line: bytes) -> bytes | None:
    """Return the body of a line without its line feed; None when it is not whole or not ours."""
    owner = name.encode()
    before = b'["%b",' % owner
    if not (line.startswith(before) and line.endswith(b"]")):
        return None
    proof, _, content = line[len(before) : -1].partition(b",")
    return content if proof == b"%d" % crc32(content, crc32(owner)) else None


def whole_lines(name: str, content: bytes) -> bytes:
    """Return a file's content up to its last line feed; nothing when the first line is not ours."""
    first = content.find(b"\n")
    if first < 0 or unseal(name, content[:first]) is None:
        return b""
    return content[: content.rfind(b"\n") + 1]


def first_body(name: str, lines: bytes) -> bytes | None:
    """Return the body of the first line."""
    return unseal(name, lines.partition(b"\n")[0])


def last_body(name: str, lines: bytes) -> bytes | None:
    """Return the body of the last line that is ours, behind the first one."""
    end = len(lines) - 1
    while (begin := lines.rfind(b"\n", 0, end)) >= 0:
        body = unseal(name, lines[begin + 1 : end])
        if body is not None:
            return body
        end = begin
    return None


def owner(content: bytes) -> str | None:
    """Return whose the first line is, if it is whole."""
    line = content.partition(b"\n")[0]
    name = line[2 : max(2, line.find(b'"', 2))].decode("utf-8", "replace")
    return name if unseal(name, line) is not None else None
