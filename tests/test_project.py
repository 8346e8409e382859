"""The repository itself: its doors work, its pages are whole, its rules hold."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT_SUFFIXES = {".md", ".py", ".toml", ".sh", ".sql", ""}
#: words of a workplace that mean nothing to a reader of the repository
FORBIDDEN = re.compile(
    r"/work/|\.\./shared|\b(?:promises|design|libraries|style)\.md\b|\bthe (?:lead|helper) agent\b"
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def tracked_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    here = Path(__file__).resolve()
    return [p for p in paths if p.suffix in TEXT_SUFFIXES and p.is_file() and p != here]


def pyproject(name: str) -> Mapping[str, object]:
    project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


def dev(
    *arguments: str, path: str | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        [str(ROOT / "dev"), *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="git checkout"
)


@needs_git
def test_no_page_and_no_module_speaks_of_the_workplace() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked_texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


@needs_git
def test_every_relative_link_of_a_page_leads_somewhere() -> None:
    pages = [path for path in tracked_texts() if path.suffix == ".md"]
    assert ROOT / "README.md" in pages
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_the_scripts_can_be_executed_and_their_shell_can_read_them(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & stat.S_IXUSR
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    assert subprocess.run([shell, "-n", str(path)], check=False).returncode == 0


def test_dev_without_a_verb_says_what_it_can_do_and_fails() -> None:
    answer = dev()
    assert answer.returncode == 2
    assert {"demo", "test", "check", "fix", "bench"} <= set(answer.stderr.split())


def test_dev_names_a_verb_that_it_does_not_have(tmp_path: Path) -> None:
    answer = dev("launch", cwd=tmp_path)
    assert answer.returncode == 2
    assert "no verb 'launch'" in answer.stderr


def test_dev_help_is_no_failure() -> None:
    answer = dev("--help")
    assert answer.returncode == 0
    assert "usage: ./dev VERB" in answer.stdout


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """Return a directory that works as PATH: the tools of a POSIX system, no uv and no Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink", "uname", "id", "mkdir", "sed", "tail", "cat", "rm"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    return tools


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout in a directory with a space, with nothing prepared."""
    root = tmp_path / "a clone"
    root.mkdir()
    for name in ("dev", "pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, root / name)
    return root


def test_dev_on_a_machine_with_nothing_says_what_to_install(
    bare_machine: Path, checkout: Path, tmp_path: Path
) -> None:
    answer = subprocess.run(
        [str(checkout / "dev"), "demo"],
        env={"PATH": str(bare_machine), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 2
    assert "neither uv nor python3 is here" in answer.stderr


@pytest.mark.thorough
def test_a_skip_fails_the_run_where_skips_are_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n@pytest.mark.skip(reason='no moon')\ndef test_a(): ...\ndef test_b(): ...\n"
    )

    def run(refuse: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options],
            cwd=tmp_path,
            env={**os.environ, "LONGSHORE_REFUSE_SKIPS": refuse, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert run("").returncode == 0
    for options in ([], ["-n", "1"]):
        refused = run("1", *options)
        assert refused.returncode == 1
        assert "test_one.py::test_a: Skipped: no moon" in refused.stdout
        assert "1 passed, 1 skipped" in refused.stdout.splitlines()[-1]


def test_all_distributions_carry_one_version_and_one_license() -> None:
    names = [path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml")]
    assert {"core", "client"} <= set(names)
    assert len({str(pyproject(name)["version"]) for name in names}) == 1
    license_text = (ROOT / "LICENSE").read_text()
    for name in names:
        assert (ROOT / "packages" / name / "LICENSE").read_text() == license_text


def test_the_core_depends_on_five_things_and_the_command_on_no_core() -> None:
    def dependencies(name: str) -> set[str]:
        listed = pyproject(name)["dependencies"]
        assert isinstance(listed, list)
        return {re.split(r"[^A-Za-z0-9-]", str(entry))[0] for entry in listed}

    assert dependencies("core") == {"attrs", "cattrs", "anyio", "pluggy", "jsonschema-rs"}
    assert "longshore" not in dependencies("client")
