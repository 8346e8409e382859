"""The provider's table ``[backends.NAME]``; Longshore checks it and names every mistake."""

import attrs


@attrs.frozen(kw_only=True)
class TemplateSettings:
    """``slots`` is how many attempts run at once."""

    slots: int = attrs.field(default=2, validator=attrs.validators.ge(1))
