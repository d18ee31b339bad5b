"""The data card's section on loading the dataset."""

from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import VIDEO, video_suffix


def loading(config: BuildConfig) -> str:
    """The section, Markdown."""
    frame = f"{config.size}, {config.size}, 3"
    if not config.stores_video:
        return _SECTION.format(view="Pairs", ask="Pairs(2)", of=f"2, {frame}", more="", members='sample["000.jpg"]', sound="")
    ask = f"Sequence(16, fps=25{', audio=True' if config.stores_audio else ''})"
    more = "; batch.audio: float32 [40, samples]" if config.stores_audio else ""
    members = 'sample["mp4"], sample.get("flac")' if config.stores_audio else 'sample["mp4"]'
    videos = [VIDEO, *map(video_suffix, config.smaller_sizes)]
    if config.stores_audio:
        sound = _SOUND.replace("{videos}", ", ".join(f'"{name}": Video(decode=False)' for name in videos))
    else:
        sound = _VIDEO.replace("{casts}", ".".join(f'cast_column("{name}", Video(decode=False))' for name in videos))
    return _SECTION.format(view="Sequence", ask=ask, of=f"16, {frame}", more=more, members=members, sound=sound)


_SECTION = """## How to load it

With motionshards, where `OUT` is this directory or its URL: pairs, K + 1 frames or sequences, optionally filtered by quality, on
any number of GPUs.

```python
from motionshards import ClipStream, {view}, make_loader

stream = ClipStream("OUT", {ask}, global_batch_size=40)
with make_loader(stream, device="cuda") as loader:
    for batch in loader:
        ...  # batch.frames: uint8 [40, {of}]{more}
        # with make_loader(augment=Augment()): float32 [40, n, 3, H, W] in [0, 1]
```

With plain webdataset:

```python
import glob

import webdataset

for sample in webdataset.WebDataset(sorted(glob.glob("OUT/train/*.tar")), shardshuffle=False):
    ...  # {members}, sample["meta.json"]: bytes
```

With Hugging Face `datasets`, from this directory or from the Hub:

```python
from datasets import load_dataset

data = load_dataset("OUT", streaming=True)
```
{sound}
`croissant.json` describes the dataset for [Croissant](https://docs.mlcommons.org/croissant/).
"""

_VIDEO = """
This needs `datasets` 4.7 or later. Without torchcodec, `{casts}` returns the videos as bytes.
"""

_SOUND = """
This needs `datasets` 4.7 or later, and the torchcodec release that matches your torch, with FFmpeg's shared libraries. Without
torchcodec, read video and audio as bytes:

```python
from datasets import Value, Video, load_dataset, load_dataset_builder

features = load_dataset_builder("OUT").info.features
features.update({{videos}, "flac": Value("binary")})
data = load_dataset("OUT", streaming=True, features=features)
```
"""
