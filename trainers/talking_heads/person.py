"""The generator of one person: its style is a parameter, and no embedder is needed (section 3.3 of the paper).

The file of a person:

{"person": state of a Person, "landmarks": float32 [T,68,2], "motionshards": {"config": …, …}}
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motionshards.schemas.atomic import replacing
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.checkpoint import METADATA_KEY, restored, stored_config
from motionshards.trainers.talking_heads.config import Config
from motionshards.trainers.talking_heads.generator import Generator
from motionshards.trainers.talking_heads.videos import VIDEOS
from motionshards.transforms.weight_file import read

_PERSON, _LANDMARKS = "person", "landmarks"
_VERSION = 1


class Person(nn.Module):
    """Renders landmark images as one person. Takes ownership of `generator` and removes its projection.

    style: [1,styles]
    """

    def __init__(self, generator: Generator, style: Tensor) -> None:
        super().__init__()
        generator.projection = None
        self.generator = generator
        self.style = nn.Parameter(style.detach().clone())

    def forward(self, landmarks: Tensor) -> Tensor:
        """Render landmark images as the person, both [B,3,H,W] in [0, 1]."""
        return self.generator.render(landmarks, self.style.expand(len(landmarks), -1))


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedPerson:
    """The contents of a person's file.

    person: generator in evaluation mode, on the CPU
    landmarks_px: float32 [T,68,2], landmarks of the training frames
    """

    config: Config
    person: Person
    landmarks_px: Tensor


def save_person(path: Path, saved: SavedPerson, how: dict[str, Any]) -> None:
    """Write a person atomically. Raises OSError.

    how: plain values that describe the fine-tuning
    """
    content = {
        _PERSON: saved.person.state_dict(),
        _LANDMARKS: saved.landmarks_px,
        METADATA_KEY: {
            "version": _VERSION,
            "model": "talking_heads",
            "config": saved.config.to_json(),
            "names": {VIDEOS: []},
            "finetuned": how,
        },
    }
    with replacing(path.parent, path) as temporary:
        torch.save(content, temporary)


def load_person(path: Path) -> SavedPerson:
    """Load a person. Raises ConfigError: the file is not a person or cannot be read."""
    content = read(path)
    if _PERSON not in content or _LANDMARKS not in content:
        raise ConfigError(f"{path} is not a person; create one from a checkpoint with jobs.finetune")
    config = stored_config(content, path, "talking_heads", Config)

    def make() -> dict[str, Person]:
        generator = Generator(config.architecture)
        return {_PERSON: Person(generator, torch.zeros(1, generator.styles))}

    person = restored(content, make, path)[_PERSON]
    return SavedPerson(config=config, person=person.eval(), landmarks_px=content[_LANDMARKS])
