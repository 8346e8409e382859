"""Carries jobs through an engine: dispatch, watch, renew, finalise, deadlines, ends, sweeps."""

from longshore.supervisor.agreements import AgreementKeeper
from longshore.supervisor.deadlines import DeadlineKeeper
from longshore.supervisor.supervisor import Supervisor
from longshore.supervisor.sweeping import UploadSweeper

__all__ = ["AgreementKeeper", "DeadlineKeeper", "Supervisor", "UploadSweeper"]
