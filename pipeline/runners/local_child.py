"""The supervised child: runs the Beam graph on local processes and turns what Beam leaves hanging into an exit status.

When a worker process is killed, Beam raises in a thread that nobody waits for, and the job hangs for ever. Here that thread's
exception ends the child, after noting which clips the dead worker had in hand.

    python -m motionshards.pipeline.runners.local_child  < pickled (units, job, Beam options), then held open by the parent
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
    """Build the units that stand on stdin; leaves with 0, FAILED or WORKER_DIED."""
    units, job, options = pickle.load(sys.stdin.buffer)
    command = start_worker_server(job, job.journal)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def on_thread_error(failure: threading.ExceptHookArgs) -> None:
        traceback.print_exception(failure.exc_value)
        if "Worker subprocess exited" in str(failure.exc_value):
            # Now, while the other workers still live: what is dead at this moment died of its own clip.
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
    """The parent holds our stdin open; when it ends, however it ends, this process and its workers end too."""
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
