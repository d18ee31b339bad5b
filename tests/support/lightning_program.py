"""Three epochs of Lightning's Trainer; run by test_integrations.py in several processes.

    lightning_program.py DATA RESULT PROCESSES SOURCE MODE

SOURCE is `loader`, or a number of workers of a DataLoader; MODE is `whole`, `limited`, `stopped` (in epoch 1, with a checkpoint
RESULT.ckpt), `resumed` (from there), or `early` (the stream is opened before the process group exists).
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from motionshards.dataset.loader import make_loader
from motionshards.dataset.stream import Batch, ClipStream, Pairs

LIMIT, STOP = 2, 7


class Recorder(pl.LightningModule):
    """Records the keys that each epoch sees."""

    def __init__(self, data: str, source: str, mode: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, list[str]]] = []
        self._data, self._source, self._mode = data, source, mode

    def train_dataloader(self) -> Any:
        stream = ClipStream(self._data, Pairs(2), global_batch_size=6)
        if self._source == "loader":
            return make_loader(stream, processes=1)
        return DataLoader(stream, batch_size=None, num_workers=int(self._source))

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, list(batch.keys)))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Stop(pl.Callback):
    """Writes a checkpoint in the middle of an epoch and stops."""

    def __init__(self, result: str) -> None:
        self._result = result

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == STOP:
            trainer.save_checkpoint(f"{self._result}.ckpt")
            trainer.should_stop = True


def main(data: str, result: str, processes: str, source: str, mode: str) -> None:
    model = Recorder(data, source, mode)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=int(processes),
        strategy="ddp" if int(processes) > 1 else "auto",
        max_epochs=3,
        limit_train_batches=LIMIT if mode == "limited" else None,
        callbacks=[Stop(result)] if mode == "stopped" else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=Path(result).parent,
    )
    early = [ClipStream(data, Pairs(2), global_batch_size=6)] if mode == "early" else []
    loaders = {"train_dataloaders": DataLoader(early[0], batch_size=None)} if early else {}
    trainer.fit(model, ckpt_path=f"{result}.ckpt" if mode == "resumed" else None, **loaders)
    Path(f"{result}-{mode}.{trainer.global_rank}").write_text(json.dumps(model.seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
