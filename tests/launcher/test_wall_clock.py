"""Walltime and grace are spans of time: whoever sets the machine's clock moves neither.

The clock of a machine cannot be set for one process alone, so the launcher is built here with a
package ``time`` whose wall clock jumps by a day whenever it is read; its monotonic clock stays as
it is.
"""

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.launcher.conftest import SOURCE, changed, go, rebuilt
from tests.launcher.places import Place
from tests.support import PATIENCE

from longshore.codec import parse_time

DAY = timedelta(days=1)
WALLTIME, GRACE = 0.6, 0.8
#: seconds that a busy machine may take for the rest; a clock that counted would be off by a day
SLACK = 10
STUBBORN = "trap 'echo asked' TERM; while :; do sleep 0.05; done"
DIRECTIONS = pytest.mark.parametrize("direction", [1, -1], ids=["forwards", "backwards"])
JUMPING = """\
package time

import (
	"sync/atomic"
	"syscall"
)

var readings atomic.Int64

// jumped returns seconds: a day more, or less, at every reading.
func jumped() int64 {
	day := int64(24 * 60 * 60)
	if towards, _ := syscall.Getenv("CLOCK_JUMPS"); towards == "-1" {
		day = -day
	}
	return day * readings.Add(1)
}
"""


def jumping_clock() -> dict[Path, str]:
    """Return the sources of a package ``time`` whose wall clock jumps."""
    library = Path(go("env", "GOROOT").strip()) / "src" / "time"
    read = r"(sec, nsec, mono := \w+\(\))\n"  # in time.Now
    text, count = re.subn(read, r"\1\n\tsec += jumped()\n", (library / "time.go").read_text())
    assert count == 1
    return {library / "time.go": text, library / "jumping.go": JUMPING}


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher with that clock."""
    return rebuilt(tmp_path_factory.mktemp("jumping"), jumping_clock())


def take(place: Place, direction: int) -> float:
    """Run a worker that does not end when its walltime has passed; return its seconds.

    What the launcher wrote down shows that its wall clock did jump.
    """
    popen = {"env": {"CLOCK_JUMPS": str(direction), "PATH": "/usr/bin:/bin"}}
    begin = time.monotonic()
    launcher = place.sh(STUBBORN, walltime=WALLTIME, grace=GRACE, popen=popen)
    assert launcher.wait(PATIENCE) == 137
    seconds = time.monotonic() - begin
    end = place.end()
    assert end.outcome is not None
    assert (end.outcome.by, end.outcome.reason) == ("walltime", "walltime")
    seen, _ = place.records()[-1]
    passed = parse_time(seen["ended_at"]) - parse_time(seen["started_at"])
    assert passed * direction >= 2 * DAY
    return seconds


@DIRECTIONS
def test_a_clock_that_is_set_moves_neither_walltime_nor_grace(
    jumping: Path, tmp_path: Path, direction: int
) -> None:
    with Place(jumping, tmp_path / "ls-job-1") as place:
        seconds = take(place, direction)
        assert place.log().count(b"asked") == 1
    assert WALLTIME + GRACE <= seconds < WALLTIME + GRACE + SLACK


def test_control_a_grace_by_the_wall_clock_is_none_when_the_clock_is_set_forwards(
    tmp_path: Path,
) -> None:
    read = "at := time.Now()"
    stripped = changed("run.go", read, f"{read}.Round(0)")  # of the monotonic reading
    program = rebuilt(tmp_path, {**jumping_clock(), **stripped})
    with Place(program, tmp_path / "ls-job-1") as place:
        assert take(place, 1) < WALLTIME + GRACE


@pytest.mark.parametrize("name", sorted(path.name for path in SOURCE.glob("*.go")))
def test_no_source_strips_a_time_of_its_monotonic_reading_but_for_a_stamp(name: str) -> None:
    strips = re.compile(r"\.(Round|Truncate|UTC|Local|In|Unix\w*)\(|time\.(Date|Parse)\(")
    lines = (SOURCE / name).read_text().splitlines()
    found = [line.strip() for line in lines if strips.search(line)]
    stamps = ['return time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")']
    assert found == (stamps if name == "attempt.go" else [])
