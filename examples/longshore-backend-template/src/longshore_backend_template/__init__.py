"""A workflow backend for Longshore, to be copied."""
