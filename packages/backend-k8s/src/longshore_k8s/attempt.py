"""What is known of an attempt besides its spec and the provider's settings."""

import attrs

from longshore.deadlines import Limits


@attrs.frozen(kw_only=True)
class AttemptFacts:
    """What a manifest needs and no request says.

    ``instance`` is the random id of this installation. ``entrypoint`` and ``user`` are the image's
    own, as they were when the workflow was registered: the argv for workflows without a command,
    and its numeric USER. ``gpu_kind`` is one of the settings' kinds.
    """

    instance: str
    namespace: str
    limits: Limits = attrs.field(factory=Limits)
    entrypoint: tuple[str, ...] = ()
    user: int | None = None
    gpu_kind: str | None = None


@attrs.frozen(kw_only=True)
class SecretFacts:
    """What the mover is given besides its plan.

    ``owner`` is the uid of the attempt's Job. ``key`` seals what the launcher writes. ``closed``
    are ``HOST:PORT`` that a closed job must no longer reach; ``authorities`` the certificates (PEM)
    that the mover trusts.
    """

    owner: str
    key: str = attrs.field(repr=False)
    closed: tuple[str, ...] = ()
    authorities: str | None = None
