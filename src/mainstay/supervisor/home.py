"""The home of an installation: there, and writable."""

import os
from pathlib import Path

from mainstay.kit.errors import ConfigurationError


def prepare_home(home: Path) -> None:
    """Create the home. Raises ConfigurationError when this user may not."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_writable = os.access(home, os.R_OK | os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError(
            f"The home {home} cannot be made: {error.strerror}. Set MAINSTAY_HOME to a folder that this user may write."
        ) from error
    if not is_writable:
        raise ConfigurationError(
            f"This user may not write in the home {home}. Change its owner, or set MAINSTAY_HOME to another folder."
        )
