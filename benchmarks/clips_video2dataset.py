"""The videos of a list, resized into WebDataset shards by video2dataset 1.3: a side of `benchmarks.clips`.

    PYTHON benchmarks/clips_video2dataset.py  < {"videos": [...], "size": 256, "processes": 2, "output": DIR}  > figures as JSON

It runs as a script, in an environment with video2dataset and without this project. The mp4 files keep their sound, which the
ffmpeg program re-encodes like the video. The last line has clips, bytes, and the CPU seconds of this process and its descendants.
"""

import importlib
import json
import os
import resource
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

_SHARDS_A_PROCESS = 4


def main() -> None:
    """Run the order given on standard input."""
    order = json.load(sys.stdin)
    package = importlib.import_module("video2dataset")
    _add_missing_attribute(importlib.import_module("video2dataset.subsamplers").ResolutionSubsampler)
    output = Path(order["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    listed = output.with_suffix(".csv")
    listed.write_text("\n".join(["url", *order["videos"], ""]))
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):  # a progress bar; workers still report errors
        package.video2dataset(
            url_list=str(listed),
            output_folder=str(output),
            output_format="webdataset",
            encode_formats={"video": "mp4"},
            config=_config(len(order["videos"]), order["size"], order["processes"]),
        )
    counts = [json.loads(path.read_text()) for path in output.glob("*_stats.json")]
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {
        "planned": len(order["videos"]),
        "kept": sum(one["successes"] for one in counts),
        "bytes": sum(path.stat().st_size for path in output.glob("*.tar")),
        "cpu_s": sum(usage.ru_utime + usage.ru_stime for usage in usages),
    }
    print(json.dumps(figures))


def _add_missing_attribute(resize: Any) -> None:
    """Add an attribute to the resize step that the worker expects of each step; without it, every shard fails."""
    original_init = resize.__init__

    def init(self: Any, **settings: Any) -> None:
        original_init(self, **settings)
        self.encode_formats = {"video": self.encode_format}

    resize.__init__ = init


def _config(videos: int, size_px: int, processes: int) -> dict[str, Any]:
    return {
        "subsampling": {"ResolutionSubsampler": {"args": {"video_size": size_px, "resize_mode": ["scale"]}}},
        "reading": {"yt_args": {"yt_metadata_args": None}, "timeout": 60, "sampler": None},
        "storage": {
            "number_sample_per_shard": -(-videos // (_SHARDS_A_PROCESS * processes)),
            "oom_shard_count": 5,
            "captions_are_subtitles": False,
        },
        "distribution": {"distributor": "multiprocessing", "processes_count": processes, "thread_count": 2, "subjob_size": 1000},
    }


if __name__ == "__main__":
    main()
