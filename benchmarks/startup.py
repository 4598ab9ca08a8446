"""Start-up beside `python -c "import click"`: python benchmarks/startup.py

CPU seconds (user and system, of the child process) of each command, the median of interleaved runs in one run of this
script, and its ratio to the bare import. The commands are run as a console script runs them.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = 25
_MAIN = "import sys; sys.argv[:] = {argv!r}; from kubectl_imagecache.cli.main import main; main()"
_COMPLETE = "import sys; sys.argv[:] = {argv!r}; from kubectl_imagecache.cli.complete import main; main()"


def programs() -> dict[str, str]:
    """What is measured: a name and the code that Python runs."""
    found = {'python -c "import click"': "import click"}
    for words in (["--help"], ["--version"], ["status", "--help"], ["statsu"]):
        found["kubectl-imagecache " + " ".join(words)] = _MAIN.format(argv=["kubectl-imagecache", *words])
    for words in (["st"], ["status", "--"], ["status", "-o", "j"]):
        found["kubectl_complete-imagecache " + " ".join(words)] = _COMPLETE.format(argv=["x", *words])
    return found


def cpu_s(code: str) -> float:
    """CPU seconds of one Python process that runs CODE."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    found = programs()
    times: dict[str, list[float]] = {name: [] for name in found}
    for run in range(RUNS + 1):
        for name, code in found.items():
            seconds = cpu_s(code)
            if run:  # the first run writes the .pyc files
                times[name].append(seconds)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = next(iter(medians.values()))
    for name, seconds in medians.items():
        print(f"{name:45} {seconds * 1000:7.1f} ms  {seconds / base:5.2f}x")


if __name__ == "__main__":
    main()
