"""Two epochs through accelerate, and the errors of unsupported settings; run by test_integrations.py in several processes.

accelerate_program.py DATA RESULT
"""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import ClipStream, Pairs
from motionshards.schemas.errors import ConfigError


def keys(batches: Any) -> list[list[str]]:
    return [list(batch.keys) for batch in batches]


def accelerator(**settings: Any) -> Accelerator:
    return Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**settings))


def passes(batches: Any) -> list[list[list[str]]]:
    """A complete epoch, one left early, a complete one."""
    return [keys(batches), keys(islice(batches, 2)), keys(batches)]


def resumed(stream: ClipStream, workers: int) -> list[list[str]]:
    """The batches that accelerate yields from a stream that resumes in the middle of epoch 1."""
    stream.load_state_dict({**stream.state_dict(), "epoch": 1, "slot": 12})
    return keys(accelerator(dispatch_batches=False).prepare(DataLoader(stream, batch_size=None, num_workers=workers)))


def refused(data: str, settings: dict[str, Any], **of_loader: Any) -> str:
    stream = ClipStream(data, Pairs(2), global_batch_size=6)
    try:
        list(accelerator(**settings).prepare(DataLoader(stream, **of_loader)))
    except ConfigError as error:
        return str(error)
    return "not refused"


def main(data: str, result: str) -> None:
    ours = accelerator(dispatch_batches=False)
    found: dict[str, Any] = {}
    for workers in (0, 2):
        stream = ClipStream(data, Pairs(2), global_batch_size=6)
        prepared = ours.prepare(DataLoader(stream, batch_size=None, num_workers=workers))
        assert len(prepared) == len(stream)
        found[f"{workers} workers"] = passes(prepared)
        prepared.set_epoch(1)
        found[f"{workers} workers, epoch 1"] = keys(prepared)
        found[f"{workers} workers, resumed"] = resumed(ClipStream(data, Pairs(2), global_batch_size=6), workers)
    with make_loader(ClipStream(data, Pairs(2), global_batch_size=6), processes=1, device=ours.device) as loader:
        found["make_loader"] = passes(ours.prepare(loader))
    found["default"] = refused(data, {}, batch_size=None)
    found["dispatched"] = refused(data, {"dispatch_batches": True}, batch_size=None)
    if ours.num_processes > 1:
        found["split"] = refused(data, {"dispatch_batches": False, "split_batches": True}, batch_size=2)
    Path(f"{result}.{ours.process_index}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
