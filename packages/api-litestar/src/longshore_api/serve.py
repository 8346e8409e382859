"""``longshore serve``: the service over HTTP, on this machine."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from longshore.embedded import default_home
from longshore.errors import LongshoreError, SettingsInvalid
from longshore.settings import Settings, load_table, parse_settings
from longshore_api.origins import Origins
from longshore_api.redaction import redact_text

_log = logging.getLogger("longshore.api")
_MISTAKE = 2
#: seconds; a tenth of what is usual
_SWITCH = 0.0005
_FAILED = 1


def serve(argv: Sequence[str]) -> int:
    """Serve the workflows of this machine over HTTP."""
    options = _options(argv)
    given = [name for name in ("host", "port") if getattr(options, name) is not None]
    origins = Origins(options.config, os.environ, given)
    try:
        return _serve(options, given, origins)
    except SettingsInvalid as exc:
        sys.stderr.write(f"longshore serve: {redact_text(str(origins.explain(exc)))}\n")
        return _MISTAKE
    except LongshoreError as exc:
        sys.stderr.write(f"longshore serve: {redact_text(str(exc))}\n")
        return _MISTAKE if exc.is_request else _FAILED
    except OSError as exc:
        sys.stderr.write(f"longshore serve: {redact_text(str(exc))}\n")
        return _FAILED


def _serve(options: argparse.Namespace, given: Sequence[str], origins: Origins) -> int:
    table = load_table(options.config, os.environ)
    section = table.setdefault("service", {}) if given else None
    if isinstance(section, dict):  # else it is a mistake, and will be told
        section.update((name, getattr(options, name)) for name in given)
    if options.check:
        from longshore_api.checking import check  # noqa: PLC0415 - only for this

        return check(table, lambda settings: _home(settings, options.state), origins)
    settings = parse_settings(table, source=str(origins))
    home = _home(settings, options.state)
    if options.new_admin_token:
        from longshore_api.admin_token import show_new_token  # noqa: PLC0415 - only for this

        anyio.run(show_new_token, settings, home)
        return 0
    return _run(settings, home)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="longshore serve", description="Serve the workflows of this machine over HTTP."
    )
    default = os.environ.get("LONGSHORE_CONFIG")
    parser.add_argument("--config", type=Path, default=default and Path(default), help="settings")
    parser.add_argument("--state", type=Path, help="the state directory")
    parser.add_argument("--host", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", help="the port (default: 8080; 0: a free one)")
    parser.add_argument("--check", action="store_true", help="check the settings, then leave")
    parser.add_argument(
        "--new-admin-token",
        action="store_true",
        help="show one more administrator's token, then leave; a service may be running",
    )
    return parser.parse_args(argv)


def _home(settings: Settings, given: Path | None) -> Path:
    """Return the state directory: as given, else beside the state file, else the usual one."""
    if given is not None:
        return given.expanduser().absolute()
    place = Path(settings.service.state.partition(":")[2]).expanduser()
    return place.parent if place.is_absolute() else default_home()


def _run(settings: Settings, home: Path) -> int:
    from longshore_api.logging_setup import logging_to  # noqa: PLC0415 - as the next
    from longshore_api.server import run_server  # noqa: PLC0415 - uvicorn; not for --help

    # a thread that ends a commit waits this long for the interpreter while the loop is busy
    sys.setswitchinterval(_SWITCH)
    with logging_to(settings.service.log):
        try:
            anyio.run(
                run_server,
                settings,
                home,
                backend="asyncio",
                backend_options={"use_uvloop": True},
            )
        except (LongshoreError, OSError):
            raise
        except Exception:  # noqa: BLE001 - told as an event; a traceback is many lines
            _log.critical("the service ends by a defect", exc_info=True)
            return _FAILED
    return 0
