"""Runs jobs on Kubernetes."""
