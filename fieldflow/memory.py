"""Would the result fit? A call that needs more memory than is free says so before anything is computed."""

import psutil

from fieldflow.errors import BadInput


def require(needed: int, what: str) -> None:
    """Raise BadInput naming the size if ``needed`` bytes are more than is free.

    >>> require(1000, "a small matrix")
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise BadInput(f"{what}: needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free")
