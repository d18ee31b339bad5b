"""Files to download from a local server, without long retries."""

import io
import random

from motionshards.dataset.storage.remote import Remote, Retry

FILE = random.Random(5).randbytes(3_000_000)
SMALL = FILE[:5000]
QUICK = Retry(attempts=4, first_wait_s=0.002, most_wait_s=0.2, stall_s=0.3)


def fetched(remote: Remote, size: int = len(FILE)) -> bytes:
    into = io.BytesIO()
    remote.fetch("train/a.tar", into, size)
    return into.getvalue()
