"""Which server is spoken to with which token: what is given, the environment, what `login` kept.

`$XDG_CONFIG_HOME/longshore/client.toml` (0600) names the server of `longshore login`, and holds its
token where the system has no keyring that works:

```toml
server = "https://compute.example"
[tokens]
"https://compute.example" = "ls_..."
```
"""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from longshore_client.errors import RequestError

SERVER, TOKEN = "LONGSHORE_SERVER", "LONGSHORE_TOKEN"
#: as an address: speak to no server, but to this machine's own service
NO_SERVER = "none"
_KEYRING_SERVICE = "longshore"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A server and the token for it."""

    url: str
    token: str | None = field(repr=False)


def config_path() -> Path:
    """Return where the configuration of the client lies."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".config"
    return base / "longshore" / "client.toml"


def chosen_server(given: str | None = None) -> str | None:
    """Return the address of the server to speak to; None where there is none.

    ``given`` comes first, then the environment, then what `login` kept.
    """
    wanted = given or os.environ.get(SERVER) or _read().get("server")
    return str(wanted) if wanted and wanted != NO_SERVER else None


def known_server(server: str | None = None, token: str | None = None) -> Known:
    """Return the server to speak to, and the token for it.

    Raises:
        RequestError: none is known, or it has no address.
    """
    from longshore_client.transport import server_url  # noqa: PLC0415 - 100 ms of HTTP

    chosen = chosen_server(server)
    if chosen is None:
        raise RequestError("no server is named", hint=f"give its address, or set {SERVER}")
    url = server_url(chosen)
    return Known(url=url, token=token or os.environ.get(TOKEN) or kept_token(url))


def kept_token(url: str) -> str | None:
    """Return the token that `login` kept for a server."""
    kept = _read().get("tokens", {}).get(url)
    if kept:
        return str(kept)
    keyring = _keyring()
    return keyring.get_password(_KEYRING_SERVICE, url) if keyring else None


def keep(url: str, token: str) -> str:
    """Keep the token of a server, which is spoken to from now on; return where it is kept.

    Raises:
        OSError: the configuration cannot be written.
    """
    table = _read()
    tokens = {**table.get("tokens", {}), url: token}
    where = str(config_path())
    keyring = _keyring()
    if keyring is not None:
        # a keyring that is there need not work: no session bus, locked, refused
        with suppress(Exception):
            keyring.set_password(_KEYRING_SERVICE, url, token)
            if keyring.get_password(_KEYRING_SERVICE, url) == token:
                del tokens[url]
                where = "the system's keyring"
    _write({"server": url, "tokens": tokens})
    return where


def forget(url: str) -> bool:
    """Forget the token of a server; say whether there was one."""
    table = _read()
    tokens = dict(table.get("tokens", {}))
    found = tokens.pop(url, None) is not None
    keyring = _keyring()
    if keyring is not None:
        with suppress(Exception):
            keyring.delete_password(_KEYRING_SERVICE, url)
            found = True
    server = table.get("server")
    _write({"server": None if server == url else server, "tokens": tokens})
    return found


def _keyring() -> Any:
    """Return the package `keyring`, if it is installed and has a keyring to speak to."""
    try:
        keyring = import_module("keyring")
    except ImportError:
        return None
    # what stands in where the system has none
    return None if type(keyring.get_keyring()).__module__ == "keyring.backends.fail" else keyring


def _read() -> dict[str, Any]:
    path = config_path()
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise RequestError(f"{path} cannot be read: {exc}", hint="mend or remove it") from exc
    if not isinstance(table.get("tokens", {}), dict):
        raise RequestError(f"{path}: tokens must be a table", hint="mend or remove it")
    return table


def _write(table: Mapping[str, Any]) -> None:
    """Replace the file at once: whoever reads it sees the old one or the new one."""
    lines = [f"server = {_quoted(table['server'])}"] if table["server"] else []
    lines += ["[tokens]", *(f"{_quoted(k)} = {_quoted(v)}" for k, v in table["tokens"].items())]
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=".client-")  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(fd)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _quoted(text: str) -> str:
    # addresses and tokens are ASCII, for which a JSON string is a TOML string
    return json.dumps(text)
