"""``/v1/blobs``: the bytes of a storage that has no server of its own."""

from longshore_api.blobs.app import Blobs

__all__ = ["Blobs"]
