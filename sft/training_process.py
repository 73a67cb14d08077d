"""The training process: `python -m sft.training_process`, a job's file named on stdin. Started by `sft.processes`.

A process of its own, since two students then train at the same time on one thread each, a crash of one leaves the
other, and the memory goes back to the machine. Everything it needs is in the job; what it did is in `result.json`.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from distill.errors import DistillError
from distill.processes import die_with_parent
from distill.store import write_json
from sft.faults import training_fault
from sft.training_job import TrainingJob, train


def main() -> int:
    """Do the job whose file is named on standard input; a fault that the user can mend is printed as JSON.

    The imports, some eight seconds, are made before the job is known: the parent prepares it meanwhile.
    """
    die_with_parent(parent=int(sys.argv[1]))
    import sft.train
    import sft.trainer  # noqa: F401

    path = sys.stdin.readline().strip()
    if not path:
        return 0
    job: TrainingJob = json.loads(Path(path).read_text(encoding="utf-8"))
    out = Path(job["out"])
    try:
        write_json(out / "result.json", train(job))
    except Exception as error:
        if not isinstance(error, DistillError):
            traceback.print_exc()
        fault = training_fault(job["name"], error, out)
        print(json.dumps({"error": str(fault), "exit_code": fault.exit_code}), flush=True)  # the disk may be full
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
