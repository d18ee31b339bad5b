"""One-line descriptions of the members of a sample and of the table columns, for data card and Croissant file."""

from motionshards.schemas.action_units import INTENSITIES, MEANS
from motionshards.schemas.confidence import ADJACENT_S
from motionshards.schemas.config import BuildConfig
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
    "blur": "variance of the Laplacian of the grayscale image without padding; low means blurred",
    "brightness": "mean gray level, 0 to 255",
    "face_size_px": "longer side of the face box in source pixels",
    "faces": "number of faces detected in the frame",
    "yaw_deg": "head pose in degrees, positive if the face is turned to the right of the image",
    "pitch_deg": "head pose in degrees, positive if the face looks up",
    "roll_deg": "head pose in degrees, positive if the head is tilted clockwise",
    "landmark_residual": "RMS distance of nose and eye corners from the fitted head model, relative to the eye distance",
    "detector_score": "detector confidence in the face",
    "landmark_score": "mean of the landmark scores, 0 to 1",
}

STILLS = "NNN.jpg"
"""Placeholder for the suffixes of all stills in `members`; `256.NNN.jpg` for stills at a smaller size."""
WHO = {
    "key": "identity/video/clip, the key of the WebDataset sample",
    "source": "the corpus",
    "split": "train or test",
    "identity": "name of the person in the corpus, or a substitute",
    "video": "name of the video in the corpus",
    "spans": "the files and time ranges that the clip consists of",
}
INDEX_COLUMNS = {
    **WHO,
    "shard": "name of the tar without its suffix, in the directory of its split",
    "n_frames": "number of described frames: the stills or, without stills, the measured frames of the video",
    "source_frames": "number of decodable frames in all spans",
    "duration_s": "duration of the decodable frames in seconds",
    "past_end_s": "seconds by which the annotation extends past the end of the video",
    "width_px": "width of the upright source frame",
    "height_px": "height of the upright source frame",
    "pixel_aspect": "width over height of a pixel of the source frame; null in datasets of format version 1",
    "transfer": "color transfer function of the source by ffmpeg's name (arib-std-b67 is HLG); null if unspecified",
    "primaries": "color primaries of the source by ffmpeg's name; null if unspecified",
    "members": "the files of the sample and their location in the tar",
    **{name: f"median over the clip's frames: {_FRAME_MEASURES[name]}" for name in MEDIANS},
    "face_share": "fraction of the stored frames in which the face was found",
    "least_detector_score": f"minimum over the clip's frames: {_FRAME_MEASURES['detector_score']}",
    "least_landmark_score": f"minimum over the clip's frames: {_FRAME_MEASURES['landmark_score']}",
    "landmark_residual": f"maximum over the clip's frames: {_FRAME_MEASURES['landmark_residual']}",
    "yaw_jump_deg": f"largest change of yaw between stored frames at most {ADJACENT_S} s apart; null if there are none",
    "frame_pts_s": "for each frame, seconds from the first frame of its file",
    **{f"frame_{name}": f"for each frame: {_FRAME_MEASURES[name]}" for name in FRAME_MEASURES},
    "au_valid": "fraction of the frames with valid action units; null without action units",
    "au_confidence": "median of OpenFace's confidence, 0 to 1; null without action units",
    **{
        mean: f"mean intensity of {name} over the frames with valid action units, 0 to 5"
        for mean, name in zip(MEANS, INTENSITIES, strict=True)
    },
    "frame_au_valid": "for each frame, whether its action units are valid",
    "frame_au_confidence": "for each frame, OpenFace's confidence, 0 to 1",
    "identity_spread": "largest Euclidean distance between the face descriptors of two of the clip's frames; null without "
    "face descriptors, or if no face was found",
    "video_frames": "number of frames of the stored video; null if none is stored",
    "fps": "frame rate of the stored video",
    "video_crf": "constant rate factor of the stored video; null if the source's packets were copied",
    "has_audio": "whether audio is stored; null if no video is stored",
    "audio_hz": "sample rate of the stored audio",
    "audio_lost": "reason code if the source has audio that could not be decoded",
    "audio_level_db": "root mean square of the audio, dBFS; -100 for digital silence",
    "audio_silence": "fraction of 20 ms windows of the audio below -50 dBFS",
    "audio_clipping": "fraction of audio samples in runs of at least two at full scale",
    "audio_speech": "fraction of 32 ms windows of the audio with speech; null if not measured",
}
REJECTION_COLUMNS = {
    **WHO,
    "shard": "name of the unit in which the clip was planned",
    "stage": "the step that rejected the clip",
    "reason": "reason code, see docs/troubleshooting.md of motionshards",
    "detail": "explanation in words",
    "retryable": "whether the same input may succeed in another run",
}
PARTS = {
    "uri": "path of the video below the input, unprintable bytes percent-encoded",
    "start_s": "start of the annotated time range in seconds",
    "end_s": "end of the annotated time range in seconds; infinite for the whole file",
    "box": "annotated box, x0 y0 x1 y1 in pixels of the reference frame",
    "reference_px": "width and height of the frame that the box refers to; a width of 0 means unknown",
    "track_uri": "path of the annotation with a box for each frame",
    "frames": "first frame of the annotation in its file and the one after the last; null if times are annotated",
    "shown_times": "whether the annotated times are timestamps of the video; otherwise frame numbers over its nominal rate",
    "suffix": "name of the member after the key and a dot",
    "offset": "byte offset of the member's data in the tar",
    "size": "size of the member in bytes",
    "crc32": "CRC-32 of the member, as computed by zlib",
}


def content(config: BuildConfig) -> str:
    """The stored content of a clip, in words."""
    return " and ".join(
        [f"{config.frames} frames"] * config.stores_stills + [f"video of {video_rate(config)}"] * config.stores_video
    )


def sizes(config: BuildConfig, times: str = " × ") -> str:
    """The sizes of the stored images, in words."""
    return " and ".join(f"{size}{times}{size}" for size in config.sizes) + " px"


def members(config: BuildConfig) -> dict[str, str]:
    """The members of a sample: suffix -> description."""
    size = f"{config.size} × {config.size} px"
    described = {STILLS: f"frame NNN, in time order: baseline JPEG, RGB, {size}"} if config.stores_stills else {}
    if config.stores_video:
        described |= _video_members(config, size)
    if config.landmarks != "none" and config.stores_stills:
        described[LANDMARKS] = "float32 [N,68,2], x y in crop pixels, iBUG 300-W order; NaN where no face was found"
        described[LANDMARK_SCORES] = "float32 [N,68], 0 to 1"
    if config.aus != "none":
        described[AUS] = "float32 [N,17], intensities of action units, 0 to 5; NaN rows where not valid"
    if config.aus_frames == "all":
        described[AUS_SEQUENCE] = (
            "float32 [F,17], the same for all F frames of the clip; their times are au_sequence_pts_s of meta.json"
        )
    if config.identity_embedding:
        described[IDENTITY] = (
            "float32 [128], face descriptor (biometric data), mean of up to five frames; NaN where no face was found"
        )
    for size_px in config.smaller_sizes:
        described |= {f"{size_px}.{STILLS}": f"frame NNN at {size_px} × {size_px} px"} if config.stores_stills else {}
        described |= {video_suffix(size_px): f"the video at {size_px} × {size_px} px"} if config.stores_video else {}
    described[META] = "identity and source of the clip, and lists of length N: time, crop affine, boxes, head pose, quality"
    return described


def video_rate(config: BuildConfig) -> str:
    """The frame rate of stored video, in words."""
    return "the source's frame rate" if config.fps == "source" else f"{config.fps} frames per second"


def sound_rate(config: BuildConfig) -> str:
    """Sample rate and channels of stored audio, in words."""
    return "rate and channels of the source" if config.audio == "source" else f"{config.audio_hz} Hz mono"


def _video_members(config: BuildConfig, size: str) -> dict[str, str]:
    described = {VIDEO: f"H.264 video of M frames at {video_rate(config)}, {size}"}
    if config.stores_audio:
        described[SOUND] = f"16-bit FLAC, {sound_rate(config)}: audio of the same span; absent if the source has none"
    described[VIDEO_FRAMES] = (
        "float64 [M,3], the source frame that each frame shows: span, number in its file, seconds in its file"
    )
    if config.landmarks != "none":
        rows = f"of every {config.landmarks_every}-th frame of the video"
        described[POINTS] = (
            f"uint16 [L,68,2], landmarks {rows}: x = value / point_units - point_offset_px (from meta.json); 65535: missing"
        )
        described[POINT_SCORES] = f"uint8 [L,68], scores {rows}, times 255"
    return described
