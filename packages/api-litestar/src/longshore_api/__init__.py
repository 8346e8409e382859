"""Longshore over HTTP."""
