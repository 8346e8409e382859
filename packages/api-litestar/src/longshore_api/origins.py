"""Where a setting comes from: an option, a variable, or the file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from longshore.errors import Problem, SettingsInvalid
from longshore.settings import ENVIRONMENT_PREFIX, NOT_SETTINGS


class Origins:
    """The places that settings were taken from; ``options`` are keys that the command line gave."""

    def __init__(
        self, file: Path | None, environment: Mapping[str, str], options: Iterable[str]
    ) -> None:
        self._file = file
        variables = [
            name
            for name in environment
            if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS
        ]
        self._found = {
            ".".join(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")): name
            for name in variables
        }
        given = {f"service.{name}": f"--{name}" for name in options}
        self._found |= given
        everywhere = (str(file or ""), "environment" * bool(variables), "options" * bool(given))
        self._all = ", ".join(filter(None, everywhere))

    def __str__(self) -> str:
        return self._all or "defaults"

    def of(self, where: str) -> str:
        """Return what gave the setting ``where``; for a whole section, what gave any of it."""
        if where in self._found:
            return self._found[where]
        inside = [name for key, name in self._found.items() if key.startswith(f"{where}.")]
        return ", ".join([*inside, *([str(self._file)] if self._file else [])])

    def told(self, problem: Problem) -> Problem:
        """Return the problem of a setting with the place where it is mended."""
        origin = self.of(problem.where)
        return Problem(
            problem.where, f"{problem.message} ({origin})" if origin else problem.message
        )

    def explain(self, error: SettingsInvalid) -> SettingsInvalid:
        """Return the error with each of its problems told."""
        return SettingsInvalid(error.message, map(self.told, error.problems), hint=error.hint)
