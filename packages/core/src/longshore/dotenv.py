"""Env inputs: ``NAME=value`` lines with names that the workflow declares.

Nothing is ever expanded: ``$HOME`` stays ``$HOME``. The bytes come from outside.
"""

import re
from collections.abc import Collection

from longshore.errors import MOST_TOLD, Problem, RequestInvalid
from longshore.suggestions import did_you_mean

#: bytes of one env input, and of one value (the kernel takes at most 128 KiB per variable)
MAX_SIZE = 256 * 1024
MAX_VALUE = 64 * 1024

_EXPORT = re.compile(r"\Aexport[ \t]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?\Z', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?\Z", re.DOTALL)
_ESCAPE = re.compile(r"\\([nrt\"\\$`])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

#: names by which a loader, an interpreter or a shell can be made to run other code
_STEERING = re.compile(
    r"(?:LD_|DYLD_|LS_|GLIBC_|MALLOC_|PYTHON|PERL|RUBY|NODE_|NPM_|JAVA_TOOL_|JDK_JAVA_|_JAVA_"
    r"|LUA_|R_PROFILE|R_ENVIRON|R_LIBS|GIT_|BASH_|DOTNET_|CORECLR_|COR_|SSL_CERT_|OPENSSL_"
    r"|JULIA_|MONO_|GUILE_|ERL_|OCAML|CAML_|TCL|QT_|GTK_|GIO_|AWK"
    r"|LONGSHORE_).*"
    r"|PATH|HOME|TMPDIR|TMP|TEMP|TEMPDIR|IFS|ENV|SHELL|SHELLOPTS|BASHOPTS|PS4|CDPATH|PWD|OLDPWD"
    r"|PROMPT_COMMAND|GCONV_PATH|LOCPATH|NLSPATH|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN|GEMRC"
    r"|CLASSPATH|JAVA_OPTS|JAVA_OPTIONS|PHPRC|PHP_INI_SCAN_DIR|LESSOPEN|LESSCLOSE|PAGER|EDITOR"
    r"|BROWSER|R_HOME|ZDOTDIR|TERMINFO|TERMINFO_DIRS|CUDA_INJECTION64_PATH|NVIDIA_VISIBLE_DEVICES"
    r"|CUDA_VISIBLE_DEVICES|(?:HTTPS?|ALL|NO|FTP)_PROXY",
    re.IGNORECASE | re.DOTALL,
)


def is_steering(name: str) -> bool:
    """Say whether a variable of this name steers a loader, an interpreter, a shell or Longshore."""
    return _STEERING.fullmatch(name) is not None


def is_variable(name: str) -> bool:
    """Say whether ``name`` can be the name of a variable."""
    return _NAME.match(name) is not None


def parse_dotenv(content: bytes, names: Collection[str]) -> dict[str, str]:
    r"""Return the variables of an env input.

    Lines are ``NAME=value``, with an optional ``export`` in front and ``# comments``. Single quotes
    keep what is between them, double quotes know ``\n \r \t \" \\ \$ \```; neither goes over lines.

    Args:
        content: the bytes as they were sent, UTF-8.
        names: the names that the workflow declares; all others are refused.

    Raises:
        RequestInvalid: with its mistakes, each with its line.
    """
    if len(content) > MAX_SIZE:
        raise RequestInvalid(f"an env input has at most {MAX_SIZE} bytes, not {len(content)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        at = content.count(b"\n", 0, exc.start) + 1
        raise RequestInvalid("not an env input", [Problem(f"line {at}", "is not UTF-8")]) from exc
    variables: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, value = _parse_line(line, names)
            if name in variables:
                raise ValueError(f"{name} is given twice")  # noqa: TRY301 - as all others
            variables[name] = value
        except ValueError as exc:
            problems.append(Problem(f"line {number}", str(exc)))
            if len(problems) > MOST_TOLD:
                break
    if problems:
        raise RequestInvalid("not an env input for this workflow", problems)
    return variables


def _parse_line(line: str, names: Collection[str]) -> tuple[str, str]:
    before, equals, after = line.partition("=")
    name = _EXPORT.sub("", before.strip(), count=1)
    if not equals or not name:
        raise ValueError("is not NAME=value")
    value = _unquote(after)
    if not is_variable(name):
        raise ValueError(f"{name[:80]!r} is no name of a variable")
    if is_steering(name):
        raise ValueError(f"{name} steers how programs are started and is never taken")
    if name not in names:
        raise ValueError(f"{name[:80]} is not declared by the workflow{did_you_mean(name, names)}")
    if "\0" in value:
        raise ValueError(f"the value of {name} holds NUL")
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(f"the value of {name} has more than {MAX_VALUE} bytes")
    return name, value


def _unquote(after: str) -> str:
    raw = after.strip()
    if raw.startswith('"'):
        match = _DOUBLE.match(raw)
        if match is None:
            raise ValueError("a double quote is not closed on its line")
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
    if raw.startswith("'"):
        match = _SINGLE.match(raw)
        if match is None:
            raise ValueError("a single quote is not closed on its line")
        return match[1]
    return re.split(r"\s#", after, maxsplit=1)[0].strip()
