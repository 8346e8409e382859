"""The address under which consumers know the service."""

from urllib.parse import urlsplit

import attrs

from longshore.errors import Problem, SettingsInvalid
from longshore.settings import ServiceSettings


@attrs.frozen
class PublicUrl:
    """``base`` without a slash at its end; ``path`` is its path, "" where it has none."""

    base: str
    path: str

    @classmethod
    def of(cls, settings: ServiceSettings, *, port: int | None = None) -> "PublicUrl":
        """Return the address that the settings give, or that of host and port.

        Raises:
            SettingsInvalid: it is no address that a client could use.
        """
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        text = settings.public_url or f"http://{host}:{settings.port if port is None else port}"
        return cls.parse(text, "service.public_url")

    @classmethod
    def parse(cls, text: str, where: str) -> "PublicUrl":
        """Return the address ``text``; ``where`` names it in a mistake.

        Raises:
            SettingsInvalid: it is none.
        """
        try:
            parts = urlsplit(text)
            parts.port  # noqa: B018 - raises where it is no port
        except ValueError as exc:
            raise SettingsInvalid("the settings have mistakes", [Problem(where, str(exc))]) from exc
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            said = "must be an address such as https://compute.example/longshore"
        elif parts.query or parts.fragment or parts.username or not text.isascii():
            said = "may have no user, query or fragment, and ASCII letters only"
        else:
            base = text.rstrip("/")
            return cls(base, urlsplit(base).path)
        raise SettingsInvalid("the settings have mistakes", [Problem(where, said)])

    def __call__(self, path: str) -> str:
        """Return the address of ``path``, which begins with a slash."""
        return self.base + path

    def strip(self, path: str) -> str:
        """Return ``path`` without ours in front, whether a proxy has left it there or not."""
        if self.path and (path == self.path or path.startswith(f"{self.path}/")):
            return path[len(self.path) :] or "/"
        return path
