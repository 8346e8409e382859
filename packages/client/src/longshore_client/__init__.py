"""The `longshore` command, and the session it speaks to a provider by."""
