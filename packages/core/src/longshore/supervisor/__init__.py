"""Carries jobs through an engine: dispatch, watch, renew, finalise, deadlines."""

from longshore.supervisor.deadlines import DeadlineKeeper
from longshore.supervisor.supervisor import Supervisor

__all__ = ["DeadlineKeeper", "Supervisor"]
