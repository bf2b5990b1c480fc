"""How do many experiments run one after the other in the memory of one? Each in a process of its own."""

import subprocess
import sys
from pathlib import Path


def verify_in_child(name: str, out: Path, *, seed: int | None, threads: int | None, quick: bool, quiet: bool) -> int:
    """Run ``fieldflow verify NAME --out OUT`` in a new process, which prints as usual; return its exit code.

    What a run compiles stays loaded until its process ends, and would add up.
    """
    numbers = [("--seed", seed), ("--threads", threads)]
    options = [part for option, value in numbers if value is not None for part in (option, str(value))]
    options += [option for option, wanted in (("--quick", quick), ("--quiet", quiet)) if wanted]
    return subprocess.run([sys.executable, "-m", "fieldflow", "verify", name, "--out", str(out), *options]).returncode
