"""Carries a job's inputs and outputs, beside its worker."""
