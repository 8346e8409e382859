"""Carries jobs through an engine: dispatch, watch, renew, finalise, deadlines, agreements."""

from longshore.supervisor.agreements import AgreementKeeper
from longshore.supervisor.deadlines import DeadlineKeeper
from longshore.supervisor.supervisor import Supervisor

__all__ = ["AgreementKeeper", "DeadlineKeeper", "Supervisor"]
