"""Who may ask what: one row for every route, and every credential that must not do.

The rows say what the service promises; they are not made from its code.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import httpx2
from litestar.routes import HTTPRoute
from tests.inside import Inside, finished, running
from tests.support import shell

from longshore.models import SCOPES, Input, Output
from longshore_api.app import make_app
from longshore_api.doorway import METHODS

#: a workflow with an input and an output
COPY = shell(
    "cp {inputs.text} {outputs.copy}",
    id="copy",
    inputs=[Input(name="text")],
    outputs=[Output(name="copy")],
)
_DEFINITION = {"id": "offered", "command": ["/bin/true"], "title": "Nothing", "version": "1"}
_NEW_JOB = {"workflow": "copy", "inputs": {"text": {"upload": {"size": 3}}}}
_CONSUMER, _ADMIN = frozenset({"consumer"}), frozenset({"admin"})
_BOTH = _CONSUMER | _ADMIN


@attrs.frozen(kw_only=True)
class Row:
    """A route: who may ask it, with which scope, and what they are answered.

    ``of`` is whose thing the route names: a fresh job, one that has ended, or another kind of
    thing. ``ended`` is the answer under an agreement that has ended, where it is another one.
    """

    status: int
    roles: frozenset[str] = _BOTH
    scope: str | None = None
    body: Mapping[str, Any] | None = None
    of: str = ""
    ended: int | None = None
    is_open: bool = False


_READ_JOB = Row(status=200, scope="jobs:read", of="job")
ROWS: Mapping[tuple[str, str], Row] = MappingProxyType(
    {
        ("GET", "/"): Row(status=307, is_open=True),
        ("GET", "/livez"): Row(status=200, is_open=True),
        ("GET", "/readyz"): Row(status=200, is_open=True),
        ("GET", "/openapi.json"): Row(status=200, is_open=True),
        ("GET", "/docs"): Row(status=200, is_open=True),
        ("GET", "/docs/{name}"): Row(status=200, is_open=True),
        ("GET", "/metrics"): Row(status=200, roles=_ADMIN),
        ("GET", "/v1/me"): Row(status=200),
        ("GET", "/v1/workflows"): Row(status=200, scope="jobs:read"),
        ("GET", "/v1/workflows/{workflow_id}"): Row(status=200, scope="jobs:read", of="workflow"),
        ("PUT", "/v1/workflows/{workflow_id}"): Row(
            status=200, roles=_ADMIN, body=_DEFINITION, of="offered"
        ),
        ("DELETE", "/v1/workflows/{workflow_id}"): Row(status=204, roles=_ADMIN, of="offered"),
        ("POST", "/v1/jobs"): Row(
            status=201, roles=_CONSUMER, scope="jobs:write", body=_NEW_JOB, ended=403
        ),
        ("GET", "/v1/jobs"): Row(status=200, scope="jobs:read"),
        ("GET", "/v1/jobs/{job_id}"): _READ_JOB,
        ("DELETE", "/v1/jobs/{job_id}"): Row(status=204, scope="jobs:write", of="ended job"),
        ("POST", "/v1/jobs/{job_id}/start"): Row(
            status=409, roles=_CONSUMER, scope="jobs:write", of="job"
        ),
        ("POST", "/v1/jobs/{job_id}/cancel"): Row(status=200, scope="jobs:write", of="job"),
        ("GET", "/v1/jobs/{job_id}/events"): _READ_JOB,
        ("GET", "/v1/jobs/{job_id}/logs"): _READ_JOB,
        ("GET", "/v1/jobs/{job_id}/inputs/{name}"): Row(
            status=200, roles=_CONSUMER, scope="data:write", of="job"
        ),
        ("POST", "/v1/jobs/{job_id}/inputs/{name}/complete"): Row(
            status=409, roles=_CONSUMER, scope="data:write", body={}, of="job"
        ),
        ("GET", "/v1/jobs/{job_id}/outputs"): Row(
            status=200, roles=_CONSUMER, scope="data:read", of="finished job"
        ),
        ("GET", "/v1/jobs/{job_id}/outputs/{name}"): Row(
            status=307, roles=_CONSUMER, scope="data:read", of="finished job"
        ),
        ("GET", "/v1/agreements"): Row(status=200, roles=_ADMIN),
        ("POST", "/v1/agreements"): Row(
            status=201, roles=_ADMIN, body={"tenant": "acme", "workflows": ["copy"]}
        ),
        ("GET", "/v1/agreements/{agreement_id}"): Row(status=200, roles=_ADMIN, of="agreement"),
        ("DELETE", "/v1/agreements/{agreement_id}"): Row(status=204, roles=_ADMIN, of="agreement"),
        ("GET", "/v1/agreements/{agreement_id}/tokens"): Row(
            status=200, roles=_ADMIN, of="agreement"
        ),
        ("POST", "/v1/agreements/{agreement_id}/tokens"): Row(
            status=201, roles=_ADMIN, body={}, of="agreement"
        ),
        ("DELETE", "/v1/agreements/{agreement_id}/tokens/{token_id}"): Row(
            status=204, roles=_ADMIN, of="agreement"
        ),
    }
)
#: credentials that open nothing
REFUSED = (
    "no token",
    "not a token",
    "another scheme",
    "unknown",
    "expired",
    "revoked",
    "of a revoked agreement",
)


def routes() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield every method and path of the service, and all methods of the path."""
    for method in METHODS:
        yield method, "/", frozenset(METHODS)
    for route in make_app().routes:
        assert isinstance(route, HTTPRoute)
        path = route.path_format
        for method in sorted(route.methods):
            yield method, path, frozenset(route.methods)


def cells() -> Iterator[tuple[str, str, Row]]:
    """Yield every method and path with its row; HEAD has that of GET."""
    for (method, path), row in ROWS.items():
        yield method, path, row
        if method == "GET":
            yield "HEAD", path, row


@attrs.frozen(kw_only=True, eq=False)
class World:
    """A service with things of two tenants, and a client for each credential."""

    inside: Inside
    clients: Mapping[str, httpx2.Client]
    agreement: str
    finished: str
    job: str
    token_id: str

    @property
    def fillings(self) -> Mapping[str, str]:
        """The victim's ids."""
        return {
            "job_id": self.job,
            "workflow_id": "copy",
            "agreement_id": self.agreement,
            "token_id": self.token_id,
            "name": "text",
        }

    def path_to_theirs(self, path: str, row: Row) -> str:
        """Return the path with ids of the tenant ``acme``."""
        filled = dict(self.fillings)
        if row.of == "finished job":
            filled |= {"job_id": self.finished, "name": "copy"}
        if row.of == "offered":
            filled["workflow_id"] = "offered"
        if path == "/docs/{name}":
            filled["name"] = "start.js"
        return path.format(**filled)

    def path_to_nothing(self, path: str) -> str:
        """Return the path with ids of the right form that nothing has."""
        nothing = "0" * 26
        filled = dict.fromkeys(("job_id", "agreement_id", "token_id"), nothing)
        return path.format(**filled, workflow_id="nothing", name="text")

    def ask(self, who: str, method: str, path: str, row: Row) -> httpx2.Response:
        """Ask with a credential."""
        body = None if row.body is None else json.dumps(row.body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        return self.clients[who].request(method, path, content=body, headers=headers)

    def fresh(self, path: str, row: Row) -> str:
        """Return the path with things that nobody needs afterwards."""
        owner, filled = self.clients["owner"], dict(self.fillings)
        if row.of in {"job", "ended job"}:
            filled["job_id"] = owner.post("/v1/jobs", json=_NEW_JOB).json()["id"]
        if row.of == "ended job":
            owner.post(f"/v1/jobs/{filled['job_id']}/cancel").raise_for_status()
        if row.of == "agreement":
            filled["agreement_id"] = self.inside.agreement("acme")
            made = self.clients["admin"].post(
                f"/v1/agreements/{filled['agreement_id']}/tokens", json={}
            )
            filled["token_id"] = made.json()["id"]
        if row.of == "offered":
            self.clients["admin"].put("/v1/workflows/offered", json=_DEFINITION)
        is_fresh = row.of in {"job", "ended job", "agreement"}
        return path.format(**filled) if is_fresh else self.path_to_theirs(path, row)


def state_of(world: World) -> Any:
    """Return what there is of the victim, to be compared."""
    owner, admin = world.clients["owner"], world.clients["admin"]
    return [
        owner.get(f"/v1/jobs/{world.job}/events").json(),
        owner.get(f"/v1/jobs/{world.finished}/events").json(),
        [one["id"] for one in owner.get("/v1/jobs").json()["items"]],
        admin.get(f"/v1/agreements/{world.agreement}").json(),
        admin.get(f"/v1/agreements/{world.agreement}/tokens").json(),
        admin.get("/v1/workflows").json(),
    ]


def _clients(inside: Inside, agreement: str, other: str) -> dict[str, httpx2.Client]:
    inside.clock.ahead = -timedelta(days=2)  # what ends there is over today
    yesterday = inside.clock.now() + timedelta(days=1)
    ended = inside.agreement("acme", until=yesterday)
    expired = inside.token(agreement, expires_at=yesterday)
    inside.clock.ahead = timedelta()
    revoked, of_revoked = inside.token(agreement), inside.agreement("acme")
    in_revoked = inside.token(of_revoked)
    access = inside.provider.access

    async def revoke() -> None:
        caller = await access.authenticate(revoked)
        await access.revoke_token(agreement, caller.token, by="test")
        await access.revoke_agreement(of_revoked, by="test")

    inside.call(revoke)
    tokens = {
        "owner": inside.token(agreement),
        "admin": inside.token(None),
        "of an ended agreement": inside.token(ended),
        "other tenant": inside.token(other),
        "not a token": "x" * 46,
        "unknown": f"ls_{'A' * 43}",
        "expired": expired,
        "revoked": revoked,
        "of a revoked agreement": in_revoked,
    }
    for scope in SCOPES:
        rest = [one for one in SCOPES if one != scope]
        tokens[f"without {scope}"] = inside.token(agreement, scopes=rest)
        tokens[f"admin without {scope}"] = inside.token(None, scopes=rest)
    clients = {name: inside.client(token) for name, token in tokens.items()}
    clients["no token"] = inside.client()
    clients["another scheme"] = inside.client()
    clients["another scheme"].headers["authorization"] = f"Basic {tokens['owner']}"
    return clients


@contextmanager
def world(home: Path) -> Iterator[World]:
    """Run a service on which a tenant has jobs, and others would like to see them."""
    with running(home, COPY) as inside:
        agreement = inside.agreement("acme")
        clients = _clients(inside, agreement, inside.agreement("evil", ["hello"]))
        owner = clients["owner"]
        done = owner.post(
            "/v1/jobs", json={"workflow": "copy", "inputs": {"text": {"text": "secret"}}}
        ).json()
        assert finished(owner, done["id"])["state"] == "SUCCEEDED"
        listed = clients["admin"].get(f"/v1/agreements/{agreement}/tokens").json()["items"]
        clients["admin"].put("/v1/workflows/offered", json=_DEFINITION).raise_for_status()
        yield World(
            inside=inside,
            clients=clients,
            agreement=agreement,
            finished=done["id"],
            job=owner.post("/v1/jobs", json=_NEW_JOB).json()["id"],
            token_id=listed[0]["id"],
        )
