"""Named filters: the curation recipes of published corpora and training code, as conditions of `where`.

Conditions on columns that a table lacks are skipped, see `dataset.query.where`. So far, no dataset has columns for SyncNet,
hyperIQA, DOVER and TalkVid's head scores.
"""

FILTERS: dict[str, tuple[str, ...]] = {
    # LatentSync (Li et al., 2024), data processing
    "latentsync": (
        "fps == 25",
        "audio_hz == 16000",
        "5 <= duration_s <= 10",
        "sync_confidence >= 3",
        "abs(sync_offset) <= 6",
        "hyperiqa >= 40",
    ),
    # TalkVid (Chen et al., 2025), data filtering; the names are those of its filtered_video_clips.json
    "talkvid": (
        "duration_s >= 5",
        "dover_scores >= 5",
        "avg_movement >= 80",
        "min_movement >= 60",
        "avg_orientation >= 70",
        "min_orientation >= 30",
        "avg_completeness >= 100",
        "min_completeness >= 100",
        "avg_resolution >= 50",
        "min_resolution >= 40",
        "avg_rotation >= 70",
        "min_rotation >= 60",
    ),
}
"""Name -> conditions, all of which must be satisfied."""
