"""The supervised child: run the Beam graph on local processes, and exit with a status where Beam would hang.

When a worker process is killed, Beam raises in a thread that is never joined, and the job hangs forever. Here that exception ends
the child, after recording the clips that were in flight on the dead worker.

    python -m motionshards.pipeline.runners.local_child
        stdin: pickled (units, job, Beam options), then kept open by the parent
"""

import os
import pickle
import signal
import sys
import threading
import traceback

from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from motionshards.pipeline.runners.graph import run_graph
from motionshards.pipeline.runners.worker_server import start_worker_server
from motionshards.pipeline.shards.journal import WORKER_DIED, write_suspects

FAILED = 70


def main() -> None:
    """Build the units read from stdin; exits with 0, FAILED or WORKER_DIED."""
    units, job, options = pickle.load(sys.stdin.buffer)
    command = start_worker_server(job, job.journal)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def on_thread_error(failure: threading.ExceptHookArgs) -> None:
        traceback.print_exception(failure.exc_value)
        if "Worker subprocess exited" in str(failure.exc_value):
            # Immediately, while the other workers are still alive: any dead process now was killed by its own clip.
            write_suspects(job.journal)
            os._exit(WORKER_DIED)

    threading.excepthook = on_thread_error
    try:
        run_graph(units, job, options, FnApiRunner(SubprocessSDKEnvironment.from_command_string(command)))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)


def _end_with_parent() -> None:
    """End this process and its workers when the parent ends for any reason, which closes our stdin."""
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
