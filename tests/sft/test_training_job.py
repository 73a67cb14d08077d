"""What a training process says of itself."""

from __future__ import annotations

import subprocess
import sys

STARTED = "import subprocess, sys; held = b'x' * 2**31; del held; subprocess.run([sys.executable, '-c', sys.argv[1]])"
CHILD = "from sft.training_job import peak_gib; print(peak_gib())"


def test_the_peak_of_a_training_is_its_own_and_not_that_of_the_run_that_started_it() -> None:
    """On Linux, getrusage's peak of a new process is at first that of the one that started it."""
    said = subprocess.run([sys.executable, "-c", STARTED, CHILD], capture_output=True, text=True, check=True).stdout
    assert 0.05 < float(said) < 1.5  # what imports torch has some 0.3 GiB; the one that started it had 2
