"""Every error Banzuke raises on purpose, cut by who must act.

BanzukeError
├─ SpecError              the operator must edit the spec (or the command line)
├─ AgentError             one agent cannot go on; inside a game it becomes a termination, never an exception
│  ├─ AgentStartError     it could not be opened or made ready
│  ├─ AgentCrashError     it ended, or answered something that is no answer
│  └─ AgentStallError     it gave no answer by its hard deadline
├─ WorkerError            this machine or process failed; the game is void and is played again
│  ├─ WorkerDiedError
│  └─ WorkerTimeoutError
├─ StorageError           the datasets
│  ├─ GameAlreadyRecordedError   safe to ignore on a retry
│  ├─ UnknownRunError
│  ├─ RunBusyError        somebody else is playing the run
│  ├─ RunChangedError     a run cannot be resumed because what it was planned from has changed
│  └─ CorruptPartError
├─ ClientError            a Prefect server does not do what it was asked
│  ├─ NoServerError        no server is configured
│  ├─ ServerSilentError    no answer in time, or none of Prefect's
│  ├─ NotDeployedError     the server does not know Banzuke
│  ├─ NoSuchRunError       the server has no such run, or several that could be meant
│  ├─ RefusedError         a parameter makes no sense, or the run is in no state for it
│  └─ StillGoingError      a run that was waited for has not ended in time
└─ RatingError            the numbers cannot be computed
   └─ NoRatedGamesError

All of them survive pickling: their arguments are exactly their ``args``.
"""

from __future__ import annotations


class BanzukeError(Exception):
    """Base of all errors raised on purpose; its text is one line a person can act on."""


class SpecError(BanzukeError):
    """The spec, or what was asked on the command line, is at fault.

    Args:
        faults: one line per fault.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per fault, in the order of the spec."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.faults)


class AgentError(BanzukeError):
    """One agent cannot go on. The text is the ``detail`` of the record."""


class AgentStartError(AgentError):
    """The agent could not be opened or made ready in time."""


class AgentCrashError(AgentError):
    """The agent's process ended, or its output was no answer (NaN logits)."""


class AgentStallError(AgentError):
    """The agent gave no answer by the hard deadline."""


class WorkerError(BanzukeError):
    """A worker process failed; what it was doing is void and may be done again."""


class WorkerDiedError(WorkerError):
    """The worker ended without being asked to."""


class WorkerTimeoutError(WorkerError, TimeoutError):
    """The worker passed its deadline and was killed."""


class StorageError(BanzukeError):
    """The store cannot be read or written as asked."""


class GameAlreadyRecordedError(StorageError):
    """A part of that name is already there: the attempt was recorded before."""


class UnknownRunError(StorageError):
    """No such run in the store."""


class RunChangedError(StorageError):
    """The run was planned from something else than what it is asked to go on with."""


class RunBusyError(StorageError):
    """Another invocation is playing the run."""


class CorruptPartError(StorageError):
    """A file of the store cannot be read as what it should be."""


class ClientError(BanzukeError):
    """A Prefect server does not do what it was asked."""


class NoServerError(ClientError):
    """No server is configured, or what is configured is no address."""


class ServerSilentError(ClientError):
    """The server gave no answer in time, or one that is none of Prefect's."""


class NotDeployedError(ClientError):
    """The server does not know Banzuke's deployments, or only older ones."""


class NoSuchRunError(ClientError):
    """The server has no such run, or several that could be meant."""


class RefusedError(ClientError):
    """A parameter makes no sense, or the run is in no state for what was asked."""


class StillGoingError(ClientError, TimeoutError):
    """A run that was waited for has not ended in time; it goes on."""


class RatingError(BanzukeError):
    """The ratings cannot be computed."""


class NoRatedGamesError(RatingError):
    """There is no counting game to rate."""
