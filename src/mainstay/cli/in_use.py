"""Which models the running server of this installation has loaded."""

from mainstay.cli.running import call, local_address
from mainstay.kit.errors import ConflictError, MainstayError

_SECONDS = 5.0
_STOPPED = "stopped"


def engines() -> dict[str, str]:
    """Return the models that are loaded, each with the phase of its engine; none if no server answers."""
    try:
        found = call("status", seconds=_SECONDS).get("engines")
    except MainstayError:
        return {}
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return {str(one["model"]): str(one.get("phase")) for one in listed if one.get("phase") != _STOPPED}


def refuse_if_in_use(model_id: str) -> None:
    """Raise ConflictError if the running server has the model loaded."""
    if model_id in engines():
        where = local_address() or "an address that it did not write down"
        message = f"A server is running {model_id} at {where}; stop that one first, or use --force."
        raise ConflictError(message)
