"""The reason codes of rejected clips: stage, whether a retry can help, and an explanation for the user."""

from collections.abc import Mapping
from dataclasses import dataclass

from motionshards.schemas.config import TUBE_RECIPES, BuildConfig


@dataclass(frozen=True, slots=True)
class Reason:
    """`stage` is the step that rejected the clip; `retryable` means that the same input may succeed in another run."""

    stage: str
    retryable: bool
    meaning: str


REASONS = {
    "unreadable": Reason("read", True, "the file could not be opened: permissions, a broken or looping link, an I/O error"),
    "not_a_file": Reason("read", False, "the path is a directory or a device"),
    "empty_file": Reason("read", False, "the file has no bytes"),
    "not_a_video": Reason("read", False, "not a video container: text, HTML, a playlist, or a damaged header"),
    "no_video_stream": Reason("read", False, "a media file without a video stream"),
    "corrupt": Reason("decode", False, "the stream is truncated or damaged: the decoder reported errors"),
    "frame_mismatch": Reason("decode", False, "the decoder did not return the requested frames"),
    "too_many_packets": Reason(
        "decode", False, "the file declares more than 2,000,000 frames, or more than 1,000 per second beyond the first 10,000"
    ),
    "too_much_memory": Reason("decode", True, "the decoder needed more memory than --decode-memory-mb"),
    "size_changes": Reason("decode", False, "the frame size changes within the stream, and the recipe requires a constant size"),
    "sound_clock": Reason("decode", False, "the timestamps of audio and video restart at different positions of the file"),
    "mixed_sound": Reason("decode", False, "the files of the clip differ in sample rate or channels (--audio source)"),
    "decode_timeout": Reason("decode", True, "the decoder ran longer than --decode-timeout"),
    "decoder_killed": Reason("decode", True, "the decoder was killed by a signal, often because the machine ran out of memory"),
    "bad_member": Reason(
        "read",
        False,
        "the file in the archive cannot be unpacked: damaged (CRC mismatch), encrypted, or an unsupported compression method",
    ),
    "too_large": Reason(
        "read", False, "unpacked from their archive, the clip's files exceed --max-clip-bytes or an implausible compression ratio"
    ),
    "past_the_end": Reason("read", False, "the annotated time range is entirely after the end of the video"),
    "bad_annotation": Reason("read", False, "the annotation file is malformed, or its box is empty or outside the frame"),
    "tube_too_short": Reason("track", False, "the face was tracked for fewer frames than --tube-min-frames"),
    "tube_too_small": Reason("track", False, "the face is smaller than --tube-min-px in the source"),
    "tube_outside": Reason("track", False, "the crop with its margin exceeds the frame (recipe fomm-track)"),
    "two_people": Reason("track", False, "the tube shows two people, judged by face descriptors of a few frames (--one-person)"),
    "too_few_frames": Reason("sample", False, "fewer decodable frames than --min-frames"),
    "no_face": Reason("landmarks", False, "no face was found in any sampled frame"),
    "face_too_small": Reason(
        "landmarks", False, "there is a face, but smaller than the detection limit (--detect-min-px, --tube-min-px)"
    ),
    "aus_failed": Reason(
        "action_units", True, "OpenFace failed, even on this clip alone, or the clip's frames need too much disk space"
    ),
    "bad_aus_csv": Reason(
        "action_units", True, "the clip's file in --aus csv:DIR lacks columns, is damaged or incomplete, or is of another video"
    ),
    "removed": Reason("removal", False, "removed on request by dataset.remove; its identity is not recorded"),
    "killed_worker": Reason("worker", True, "the process that built this clip died twice, the second time in isolation"),
}

_MANY = 0.1
_WITHOUT_FACE = {
    "no_face": "have no detected face",
    "face_too_small": "have a face below the detection size",
    "tube_too_small": "have a face below the minimum size of the recipe",
    "tube_too_short": "show their face for too few frames",
}
# Smallest faces that the models detect at the resolution of the source, the highest at which we search.
_FAN_PX, _DLIB_PX = 32, 80


def advice(kept: int, rejected: Mapping[str, int], config: BuildConfig) -> list[str]:
    """One sentence per face-related reason that rejected more than 10 % of the clips, with options to try."""
    total = kept + sum(rejected.values())
    many = [reason for reason in _WITHOUT_FACE if rejected.get(reason, 0) > _MANY * total]
    return [f"{rejected[reason]} of {total} clips {_WITHOUT_FACE[reason]}{_what_to_try(reason, config)}" for reason in many]


def _what_to_try(reason: str, config: BuildConfig) -> str:
    """Suggest only options that can help given the build's settings."""
    tracks, dlib = config.recipe in TUBE_RECIPES, config.landmarks == "dlib"
    searched = reason in ("no_face", "face_too_small")
    coarse = tracks and config.required_tube_px > config.detect_min_px
    helps = {
        "--recipe face, which searches every frame": reason == "no_face" and not tracks,
        "a smaller --detect-min-px": searched and config.detect_min_px > (_DLIB_PX if dlib else _FAN_PX),
        "a smaller --tube-min-px": reason == "tube_too_small" or (searched and coarse),
        "a smaller --tube-min-frames": reason == "tube_too_short",
        f"--landmarks fan, which finds faces from {_FAN_PX} px": searched and dlib,
    }
    options = [option for option, can_help in helps.items() if can_help]
    return f": try {', or '.join(options)}" if options else ""
