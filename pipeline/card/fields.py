"""What the members of a sample and the columns of the tables hold, a line each; data card and Croissant file show them."""

from motionshards.schemas.action_units import INTENSITIES, MEANS
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.doubt import ADJACENT_S
from motionshards.schemas.layout import (
    AUS,
    AUS_SEQUENCE,
    IDENTITY,
    LANDMARK_SCORES,
    LANDMARKS,
    META,
    POINT_SCORES,
    POINTS,
    SOUND,
    VIDEO,
    VIDEO_FRAMES,
    video_suffix,
)
from motionshards.schemas.tables import FRAME_MEASURES, MEDIANS

_FRAME_MEASURES = {
    "blur": "variance of the Laplacian of the grey picture without padding; small is blurred",
    "brightness": "mean grey level, 0 to 255",
    "face_size_px": "longer side of the face box in source pixels",
    "faces": "faces that the detector saw in the frame",
    "yaw_deg": "head pose in degrees, positive where the face is turned to the image's right",
    "pitch_deg": "head pose in degrees, positive where the face looks up",
    "roll_deg": "head pose in degrees, positive where the head is tilted clockwise",
    "landmark_residual": "how far nose and eye corners are from the fitted head, root mean square, by the eye distance",
    "detector_score": "the detector's confidence in the face",
    "landmark_score": "mean of the landmark scores, 0 to 1",
}

STILLS = "NNN.jpg"
"""Stands for the suffixes of all stills in `members`; `256.NNN.jpg` for those at a smaller size."""
WHO = {
    "key": "identity/video/clip, the key of the WebDataset sample",
    "source": "the corpus",
    "split": "train or test",
    "identity": "the corpus's own name of the person, or what stands for one",
    "video": "the corpus's own name of the video",
    "spans": "the files and times of which the clip consists",
}
INDEX_COLUMNS = {
    **WHO,
    "shard": "name of the tar without its suffix, in the directory of its split",
    "n_frames": "frames that the sample describes: its stills; without stills, the measured frames of its video",
    "source_frames": "decodable frames of all spans",
    "duration_s": "seconds that the decodable frames cover",
    "past_end_s": "by how many seconds the annotation runs past the end of the video",
    "width_px": "width of the upright source frame",
    "height_px": "height of the upright source frame",
    "pixel_aspect": "width over height of a pixel of the source frame; null in datasets of format version 1",
    "transfer": "transfer function of the source's colours by ffmpeg's name, arib-std-b67 being HLG; null where it does not say",
    "primaries": "primaries of the source's colours by ffmpeg's name; null where it does not say",
    "members": "the files of the sample and where they lie in the tar",
    **{name: f"median over the clip's frames: {_FRAME_MEASURES[name]}" for name in MEDIANS},
    "face_share": "share of the stored frames with the face",
    "least_detector_score": f"least over the clip's frames: {_FRAME_MEASURES['detector_score']}",
    "least_landmark_score": f"least over the clip's frames: {_FRAME_MEASURES['landmark_score']}",
    "landmark_residual": f"largest over the clip's frames: {_FRAME_MEASURES['landmark_residual']}",
    "yaw_jump_deg": f"largest change of yaw between stored frames at most {ADJACENT_S} s apart; null where there are none",
    "frame_pts_s": "for each frame, seconds from the first frame of its file",
    **{f"frame_{name}": f"for each frame: {_FRAME_MEASURES[name]}" for name in FRAME_MEASURES},
    "au_valid": "share of the frames with valid action units; null without action units",
    "au_confidence": "median of OpenFace's confidence, 0 to 1; null without action units",
    **{
        mean: f"mean intensity of {name} over the frames with valid action units, 0 to 5"
        for mean, name in zip(MEANS, INTENSITIES, strict=True)
    },
    "frame_au_valid": "for each frame, whether its action units are valid",
    "frame_au_confidence": "for each frame, OpenFace's confidence, 0 to 1",
    "identity_spread": "largest Euclidean distance between the face descriptors of two of the clip's frames; null without "
    "face descriptors, and where no face was found",
    "video_frames": "frames of the stored video; null where none is stored",
    "fps": "frame rate of the stored video",
    "video_crf": "constant rate factor of the stored video; null where the source's packets were copied",
    "has_audio": "whether sound is stored; null where no video is",
    "audio_hz": "sample rate of the stored sound",
    "audio_lost": "reason code, where the source has sound that could not be decoded",
    "audio_level_db": "root mean square of the sound, dB below full scale; -100 for digital silence",
    "audio_silence": "share of 20 ms windows of the sound below -50 dB",
    "audio_clipping": "share of samples of the sound in runs of at least two at full scale",
    "audio_speech": "share of 32 ms windows of the sound with speech; null where it was not measured",
}
REJECTION_COLUMNS = {
    **WHO,
    "shard": "name of the unit in which the clip was planned",
    "stage": "the step that gave up",
    "reason": "reason code, see docs/troubleshooting.md of motionshards",
    "detail": "what happened, in words",
    "retryable": "whether the same input may pass on another try",
}
PARTS = {
    "uri": "path of the video below the input, odd bytes percent-encoded",
    "start_s": "begin of the annotated time, seconds",
    "end_s": "end of the annotated time, seconds; infinite where the whole file is meant",
    "box": "annotated box, x0 y0 x1 y1 in pixels of the reference frame",
    "reference_px": "width and height of the frame in which the box was annotated; a width of 0 is not known",
    "track_uri": "path of the annotation with a box for each frame",
    "frames": "first frame of the annotation in its file and the one after the last; null where times are annotated",
    "shown_times": "whether the annotated times are timestamps of the video; else they are frame numbers over its nominal rate",
    "suffix": "the member's name after the key and a dot",
    "offset": "the byte of the tar at which the member's data begins",
    "size": "bytes of the member",
    "crc32": "CRC-32 of the member, as zlib computes it",
}


def content(config: BuildConfig) -> str:
    """What a clip of such a build is, in words."""
    return " and ".join([f"{config.frames} frames"] * config.stills + [f"video of {video_rate(config)}"] * config.moving)


def sizes(config: BuildConfig, times: str = " × ") -> str:
    """The sizes of the stored pictures, in words."""
    return " and ".join(f"{size}{times}{size}" for size in config.sizes) + " px"


def members(config: BuildConfig) -> dict[str, str]:
    """What a sample of such a build holds: suffix -> description."""
    size = f"{config.size} × {config.size} px"
    told = {STILLS: f"frame NNN, in time order: baseline JPEG, RGB, {size}"} if config.stills else {}
    if config.moving:
        told |= _video_members(config, size)
    if config.landmarks != "none" and config.stills:
        told[LANDMARKS] = "float32 [N,68,2], x y in crop pixels, iBUG 300-W order; NaN where no face was found"
        told[LANDMARK_SCORES] = "float32 [N,68], 0 to 1"
    if config.aus != "none":
        told[AUS] = "float32 [N,17], intensities of action units, 0 to 5; NaN rows where not valid"
    if config.aus_frames == "all":
        told[AUS_SEQUENCE] = (
            "float32 [F,17], the same of all F frames of the clip; their times are au_sequence_pts_s of meta.json"
        )
    if config.identity_embedding:
        told[IDENTITY] = "float32 [128], face descriptor (biometric data), mean of up to five frames; NaN where no face was found"
    for size_px in config.smaller_sizes:
        told |= {f"{size_px}.{STILLS}": f"frame NNN at {size_px} × {size_px} px"} if config.stills else {}
        told |= {video_suffix(size_px): f"the video at {size_px} × {size_px} px"} if config.moving else {}
    told[META] = "who the clip is, and lists of N: time, crop affine, boxes, head pose, quality"
    return told


def video_rate(config: BuildConfig) -> str:
    """The frame rate of stored video, in words."""
    return "the source's frame rate" if config.fps == "source" else f"{config.fps} frames per second"


def sound_rate(config: BuildConfig) -> str:
    """Rate and channels of stored sound, in words."""
    return "rate and channels of the source" if config.audio == "source" else f"{config.audio_hz} Hz mono"


def _video_members(config: BuildConfig, size: str) -> dict[str, str]:
    told = {VIDEO: f"H.264 video of M frames at {video_rate(config)}, {size}"}
    if config.sounding:
        told[SOUND] = f"16-bit FLAC, {sound_rate(config)}: sound of the same span; absent where the source has none"
    told[VIDEO_FRAMES] = "float64 [M,3], the source frame that each frame shows: span, number in its file, seconds in its file"
    if config.landmarks != "none":
        rows = f"of every {config.landmarks_every}-th frame of the video"
        told[POINTS] = (
            f"uint16 [L,68,2], landmarks {rows}: x = value / point_units - point_offset_px, which are in meta.json; 65535: none"
        )
        told[POINT_SCORES] = f"uint8 [L,68], scores {rows}, times 255"
    return told
