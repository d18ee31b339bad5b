"""Lists of HDTF, CelebV-HQ and TalkingHead-1KH as their authors publish them, written by hand."""

import json
from pathlib import Path
from typing import Any

HDTF = {
    "RD_video_url.txt": "Radio1 https://www.youtube.com/watch?v=aaaaaaaaaaa\nRadio2 https://www.youtube.com/watch?v=bbbbbbbbbbb&t=6s\n",
    "RD_annotion_time.txt": "Radio1.mp4 00:20-01:35 \nRadio2.mp4 00:30-01:00 01:30-02:30\t \n",
    "RD_resolution.txt": "Radio1.mp4 720\nRadio2.mp4 0\n",
    "RD_crop_wh.txt": "Radio1_0.mp4 483 390 0 390\nRadio2_0.mp4 412 599 0 599\n",
    "WDA_video_url.txt": "\ufeffAdamSmith1 https://www.youtube.com/watch?v=ccccccccccc\n",
    "WDA_annotion_time.txt": "AdamSmith1.mp4 00:02-04:55\n",
    "WDA_resolution.txt": "AdamSmith1.mp4 1080\n",
    "WDA_crop_wh.txt": "AdamSmith1_0.mp4 532 958 -4 958\n",
    "WDA_crop_ratio.txt": "AdamSmith1_0.mp4 1.0\n",
}


def write_hdtf(root: Path, **changed: str) -> None:
    """Write the lists below `root`, those of WDA with Windows line endings. changed: other contents, by name without suffix."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in HDTF.items():
        text = changed.get(name.removesuffix(".txt"), text)
        (root / name).write_bytes((text.replace("\n", "\r\n") if name.startswith("WDA") else text).encode())


def celebvhq_clip(video: str, start_s: float, end_s: float, box: tuple[float, float, float, float]) -> dict[str, Any]:
    """An entry of the list; box: left, top, right, bottom."""
    return {
        "ytb_id": video,
        "duration": {"start_sec": start_s, "end_sec": end_s},
        "bbox": {"top": box[1], "bottom": box[3], "left": box[0], "right": box[2]},
        "attributes": {"appearance": [0, 1], "action": [0], "emotion": {"sep_flag": False, "labels": "neutral"}},
        "version": "v0.1",
    }


def write_celebvhq(root: Path, clips: dict[str, Any]) -> None:
    """Write the list into `root`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "celebvhq_info.json").write_text(json.dumps({"meta_info": {"appearance_mapping": ["Blurry"]}, "clips": clips}))


def write_talkinghead1kh(root: Path, **lists: str) -> None:
    """Write lists of tubes below `root`, given as train="lines", …."""
    (root / "data_list").mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (root / "data_list" / f"{name}_video_tubes.txt").write_text(text)
