"""What can go wrong with weights."""

from mainstay.kit.errors import ConflictError, InvalidRequestError, MainstayError, UnavailableError


class SourceFailedError(UnavailableError):
    """One source did not give the file; another may."""

    @property
    def brief(self) -> str:
        """What happened, without the cause and the full stop."""
        return self.message.rstrip(".")


class UnreachableError(SourceFailedError):
    """No connection to the host of a source."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host} cannot be reached: {reason}.")
        self._host = host

    @property
    def brief(self) -> str:
        """What happened, without the cause and the full stop."""
        return f"{self._host} cannot be reached"


class WrongContentError(SourceFailedError):
    """A source gave other bytes than the pinned ones; they were removed."""


class PullFailedError(UnavailableError):
    """No source gave the file; the message lists the reason of each."""


class StoreError(MainstayError):
    """The directory of the weights cannot be used: full, read-only, or busy for too long."""


class GgufError(InvalidRequestError):
    """A file is not a GGUF model that can be served."""


class NameTakenError(ConflictError):
    """The id belongs to another model."""
