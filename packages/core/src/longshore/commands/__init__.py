"""Sub-commands of ``longshore`` that the core brings along."""
