"""Numbered changes of the schema, applied when a file is opened."""

import secrets
import sqlite3
from importlib import resources


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the changes that the database lacks, all or none, and give a new one its instance.

    Raises:
        sqlite3.Error: it cannot be written, or a newer version of Longshore made it.
    """
    folder = resources.files("longshore.stores") / "schema"
    changes = sorted(file for file in folder.iterdir() if file.name.endswith(".sql"))  # type: ignore[type-var]  # a Traversable of a folder sorts as its path
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(changes):
        raise sqlite3.DatabaseError(f"schema {version} is newer than this version of Longshore")
    for number, change in enumerate(changes[version:], start=version + 1):
        for statement in change.read_text("utf-8").split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('instance', ?)", (secrets.token_hex(8),))
    connection.execute("COMMIT")
