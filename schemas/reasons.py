"""The reason codes of rejected clips: stage, whether another try can help, and what the user should know."""

from collections.abc import Mapping
from dataclasses import dataclass

from motionshards.schemas.config import TUBE_RECIPES, BuildConfig


@dataclass(frozen=True, slots=True)
class Reason:
    """`stage` is the step that gave up; `retryable` says that the same input may pass on another try."""

    stage: str
    retryable: bool
    meaning: str


REASONS = {
    "unreadable": Reason("read", True, "the file could not be opened: permissions, a broken or looping link, an I/O error"),
    "not_a_file": Reason("read", False, "the path is a directory or a device"),
    "empty_file": Reason("read", False, "the file has no bytes"),
    "not_a_video": Reason("read", False, "no video container: text, HTML, a playlist, or damage at its start"),
    "no_video_stream": Reason("read", False, "a media file without a video stream"),
    "corrupt": Reason("decode", False, "the stream is truncated or damaged: the decoder reported errors"),
    "frame_mismatch": Reason("decode", False, "the decoder did not give the frames that were asked for"),
    "too_many_packets": Reason(
        "decode", False, "the file promises more than 2,000,000 frames, or more than 1,000 a second beyond the first 10,000"
    ),
    "too_much_memory": Reason("decode", True, "the decoder needed more memory than --decode-memory-mb"),
    "size_changes": Reason("decode", False, "frames change their size within the stream, and the recipe needs one size"),
    "sound_clock": Reason("decode", False, "the clocks of the sound and the video start anew at different places of the file"),
    "mixed_sound": Reason("decode", False, "the files of the clip have sound of different rates or channels (--audio source)"),
    "decode_timeout": Reason("decode", True, "the decoder ran longer than --decode-timeout"),
    "decoder_killed": Reason("decode", True, "the decoder was killed by a signal, often for want of memory"),
    "bad_member": Reason(
        "read",
        False,
        "the file in the archive cannot be unpacked: it is damaged (its CRC differs), encrypted, or compressed otherwise",
    ),
    "too_large": Reason(
        "read", False, "unpacked from their archive, the clip's files exceed --max-clip-bytes, or inflate implausibly"
    ),
    "past_the_end": Reason("read", False, "the annotated time lies wholly behind the end of the video"),
    "bad_annotation": Reason("read", False, "the annotation file is malformed, or its box is empty or outside the frame"),
    "tube_too_short": Reason("track", False, "the face was followed through fewer frames than --tube-min-frames"),
    "tube_too_small": Reason("track", False, "the face is smaller than --tube-min-px in the source"),
    "tube_outside": Reason("track", False, "the crop with its margin leaves the frame, and the recipe is fomm-track"),
    "two_people": Reason("track", False, "the tube shows two people, by the descriptors of a few of its frames (--one-person)"),
    "too_few_frames": Reason("sample", False, "fewer decodable frames than --min-frames"),
    "no_face": Reason("landmarks", False, "no face was found in any sampled frame"),
    "face_too_small": Reason(
        "landmarks", False, "a face is there, but too small in the source to be searched for (--detect-min-px, --tube-min-px)"
    ),
    "aus_failed": Reason(
        "action_units", True, "OpenFace failed, also with this clip alone, or the clip's frames take too much disk space"
    ),
    "bad_aus_csv": Reason(
        "action_units", True, "the clip's file in --aus csv:DIR lacks columns, is damaged or unfinished, or is of another video"
    ),
    "removed": Reason("removal", False, "taken out on request by dataset.remove; nothing tells who it was"),
    "killed_worker": Reason("worker", True, "the process that built this clip died twice, the second time alone with it"),
}

_MANY = 0.1
_WITHOUT_FACE = {
    "no_face": "have no face at the searched scale",
    "face_too_small": "have a face that is smaller than is searched for",
    "tube_too_small": "have a face that is smaller than the recipe stores",
    "tube_too_short": "show their face for too short a time",
}
# The smallest faces that the models find at the source's own scale, which is the finest that is searched.
_FAN_PX, _DLIB_PX = 32, 80


def advice(kept: int, rejected: Mapping[str, int], config: BuildConfig) -> list[str]:
    """A sentence for each reason for which more than a tenth of the clips were rejected for want of a face, with what to try."""
    total = kept + sum(rejected.values())
    many = [reason for reason in _WITHOUT_FACE if rejected.get(reason, 0) > _MANY * total]
    return [f"{rejected[reason]} of {total} clips {_WITHOUT_FACE[reason]}{_what_to_try(reason, config)}" for reason in many]


def _what_to_try(reason: str, config: BuildConfig) -> str:
    """Only what can help with the settings of the build."""
    tracks, dlib = config.recipe in TUBE_RECIPES, config.landmarks == "dlib"
    searched = reason in ("no_face", "face_too_small")
    coarse = tracks and config.least_tube_px > config.detect_min_px
    helps = {
        "--recipe face, which searches every frame": reason == "no_face" and not tracks,
        "a smaller --detect-min-px": searched and config.detect_min_px > (_DLIB_PX if dlib else _FAN_PX),
        "a smaller --tube-min-px": reason == "tube_too_small" or (searched and coarse),
        "a smaller --tube-min-frames": reason == "tube_too_short",
        f"--landmarks fan, which finds faces from {_FAN_PX} px": searched and dlib,
    }
    words = [word for word, does in helps.items() if does]
    return f": try {', or '.join(words)}" if words else ""
