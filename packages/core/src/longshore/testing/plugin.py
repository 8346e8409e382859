"""The pytest plug-in of Longshore: failing contract tests show their values."""

import pytest

pytest.register_assert_rewrite(
    "longshore.testing.hostile",
    "longshore.testing.storage_backend",
    "longshore.testing.lab",
    "longshore.testing.store",
    "longshore.testing.store_access",
    "longshore.testing.store_queries",
    "longshore.testing.workflow_backend",
    "longshore.testing.workflow_results",
)
