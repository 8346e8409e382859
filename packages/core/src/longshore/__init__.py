"""Run predefined workflows for the holders of a contract."""
