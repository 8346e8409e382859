"""Env inputs: names that the workflow declares, values as they are; nothing is expanded."""

import contextlib
import os

import pytest
from hypothesis import given, strategies as st

from longshore.dotenv import MAX_SIZE, MAX_VALUE, is_steering, is_variable, parse_dotenv
from longshore.errors import RequestInvalid

NAMES = ("A", "B", "LONG_NAME", "_x9")


def parse(text: str | bytes) -> dict[str, str]:
    return parse_dotenv(text if isinstance(text, bytes) else text.encode(), NAMES)


def mistakes(text: str | bytes) -> list[str]:
    with pytest.raises(RequestInvalid) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("A=", ""),
        ("A = 1 ", "1"),
        ("  A=1", "1"),
        ("export A=1", "1"),
        ("export\tA=1", "1"),
        ("A=1\r", "1"),
        ("A=a=b", "a=b"),
        ("A=1 # comment", "1"),
        ("A=1#no comment", "1#no comment"),
        ("A= # comment", ""),
        ("A=#1", "#1"),
        ("A='a # b'", "a # b"),
        ("A='a' # comment", "a"),
        ("A='a\\nb'", "a\\nb"),
        ('A="a\\nb\\t\\"c\\"\\\\"', 'a\nb\t"c"\\'),
        ('A="\\$B \\`x\\`"', "$B `x`"),
        ('A="\\x"', "\\x"),
        ('A="a # b" # comment', "a # b"),
        ('A=""', ""),
        ("A=$HOME", "$HOME"),
        ("A=${B:-x}", "${B:-x}"),
        ('A="$(id)"', "$(id)"),
        ("A=`id`", "`id`"),
        ("A=$(B)", "$(B)"),
        ("A={inputs.text}", "{inputs.text}"),
        ("A={python}", "{python}"),
        ("A=a;b && c | d", "a;b && c | d"),
        ("A=%PATH% !x *", "%PATH% !x *"),
        ("A=\u00e4\U0001f40c", "\u00e4\U0001f40c"),
        ("A=it's", "it's"),
        ('A=x"y', 'x"y'),
    ],
)
def test_a_line_gives_its_value_as_it_is(line: str, value: str) -> None:
    assert parse(line) == {"A": value}


def test_blank_lines_and_comments_and_a_byte_order_mark_are_nothing() -> None:
    assert parse(b"\xef\xbb\xbf# first\n\n   \n\t# second\r\nA=1\n\nB=2") == {"A": "1", "B": "2"}
    assert parse("") == {}


def test_every_mistake_is_named_with_its_line() -> None:
    text = r"""A=1
no equals
=1
1A=1
A B=1
A=2
LONG_NAM=1
PATH=/tmp
B='open
B="open\"
B="closed" more
_x9=NUL""".replace("NUL", "\0")
    assert mistakes(text) == [
        "line 2: is not NAME=value",
        "line 3: is not NAME=value",
        "line 4: '1A' is no name of a variable",
        "line 5: 'A B' is no name of a variable",
        "line 6: A is given twice",
        "line 7: LONG_NAM is not declared by the workflow; did you mean 'LONG_NAME'?",
        "line 8: PATH steers how programs are started and is never taken",
        "line 9: a single quote is not closed on its line",
        "line 10: a double quote is not closed on its line",
        "line 11: a double quote is not closed on its line",
        "line 12: the value of _x9 holds NUL",
    ]


def test_what_is_not_utf8_is_said_with_its_line() -> None:
    assert mistakes(b"A=1\nB=\xff\n") == ["line 2: is not UTF-8"]
    assert mistakes("A=1".encode("utf-16")) == ["line 1: is not UTF-8"]


def test_sizes_are_bounded() -> None:
    assert parse(b"A=" + b"x" * MAX_VALUE) == {"A": "x" * MAX_VALUE}
    assert mistakes(b"A=" + b"x" * (MAX_VALUE + 1)) == [
        f"line 1: the value of A has more than {MAX_VALUE} bytes"
    ]
    assert len(parse(b"#" + b"x" * (MAX_SIZE - 1))) == 0
    with pytest.raises(RequestInvalid, match=f"at most {MAX_SIZE} bytes, not {MAX_SIZE + 1}"):
        parse(b"#" * (MAX_SIZE + 1))


def test_a_long_wrong_name_does_not_fill_the_message() -> None:
    (problem,) = mistakes("x" * 10_000 + "=1")
    assert len(problem) < 250


def test_a_value_that_a_slow_reader_would_choke_on_is_read_at_once() -> None:
    assert mistakes('A="' + "\\" * 60_001) == ["line 1: a double quote is not closed on its line"]
    assert mistakes('A="' + '" #' * 20_000 + '\n"')  # 60 kB of quotes that close nothing


STEERING = [
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES"),
    *("PATH", "HOME", "TMPDIR", "SHELL", "IFS", "ENV", "BASH_ENV", "BASH_FUNC_x", "PS4", "CDPATH"),
    *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PERL5LIB", "PERL5OPT", "RUBYOPT", "RUBYLIB"),
    *("NODE_OPTIONS", "NODE_PATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "LUA_PATH"),
    *("R_PROFILE", "R_LIBS", "R_HOME", "JULIA_LOAD_PATH", "ERL_LIBS", "GUILE_LOAD_PATH", "ZDOTDIR"),
    *("GCONV_PATH", "LOCPATH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "OPENSSL_CONF", "AWKPATH"),
    *("SSL_CERT_FILE", "http_proxy", "HTTPS_PROXY", "DOTNET_STARTUP_HOOKS", "CORECLR_PROFILER"),
    *(
        "LS_PARAM_TOP",
        "LS_INPUT_TEXT",
        "LONGSHORE_STATE",
        "NVIDIA_VISIBLE_DEVICES",
        "MALLOC_CHECK_",
    ),
    *("QT_PLUGIN_PATH", "GTK_MODULES", "TCLLIBPATH", "OCAMLRUNPARAM", "MONO_PATH"),
]


@pytest.mark.parametrize("name", STEERING)
def test_names_that_steer_a_loader_are_never_taken_even_when_declared(name: str) -> None:
    assert is_steering(name)
    assert is_steering(name.lower())
    with pytest.raises(RequestInvalid) as caught:
        parse_dotenv(f"{name}=x".encode(), {name})
    assert "steers how programs are started" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["SOURCE", "DESTINATION", "SLEEPTIME", "LANG", "TZ", "PATHS", "MY_PATH", "HOMEPAGE", "X"],
)
def test_other_names_are_taken(name: str) -> None:
    assert not is_steering(name)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A\n", "\u00c4", "A-B", "A.B", "A\0"])
def test_what_no_shell_takes_as_a_name_is_none(name: str) -> None:
    assert not is_variable(name)


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r'")))
def test_single_quotes_keep_what_is_between_them(value: str) -> None:
    assert parse(f"A='{value}'") == {"A": value}


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_double_quotes_can_hold_any_value(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    quoted = quoted.replace("\n", "\\n").replace("\r", "\\r")
    assert parse(f'A="{quoted}"') == {"A": value}


@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_declared_variables_or_refused(content: bytes) -> None:
    with contextlib.suppress(RequestInvalid):
        for name, value in parse(b"A=1\nB=" + content).items():
            assert name in NAMES
            assert "\0" not in value
            os.fsencode(value)
