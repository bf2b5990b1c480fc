"""Would the result fit? A call that needs more memory than is free says so before anything is computed."""

import os

from fieldflow.errors import BadInput


def free_memory() -> int | None:
    """Return the bytes this machine can still give, or None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def require(needed: int, what: str) -> None:
    """Raise BadInput naming the size if ``needed`` bytes are more than is free.

    >>> require(1000, "a small matrix")
    """
    free = free_memory()
    if free is not None and needed > free:
        raise BadInput(f"{what}: needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free")
