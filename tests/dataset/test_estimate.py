"""Estimates as text: numbers with suitable units."""

from motionshards.dataset.estimate import as_text, duration, size


def test_the_text() -> None:
    def about(value: float, spread: float = 0.1) -> dict[str, float]:
        return {"value": value, "low": value * (1 - spread), "high": value * (1 + spread)}

    found = {
        "clips": 1_092_009,
        "sample": 200,
        "strata": 6,
        "yield": {
            "share": about(0.975, 0.01),
            "clips": about(1_064_709, 0.01),
            "samples": about(1_064_709, 0.01),
            "rejected": {"corrupt": {"seen": 5, "share": about(0.025, 0.5), "clips": about(27_300, 0.5)}},
            "unseen_share": 0.0134,
        },
        "disk": {"shards": about(178e9), "tables": 0.9e9, "total": about(178.9e9), "unfinished": 84e6, "free": 150e9},
        "time": {
            "planning_s": 23.0,
            "start_s": 6.2,
            "sample_s": 26.0,
            "clip_s": about(0.095),
            "hours": about(28.8),
            "workers": 2,
            "hours_by_workers": {"1": about(57.6), "2": about(28.8), "256": about(0.23)},
            "core_hours": 56.4,
            "gpus": 1,
            "gpu_hours": about(28.8),
        },
    }
    message = as_text(found, "OUT")
    for words in (
        "1,092,009 clips to build; 200, drawn at random from 6 strata, were built as a trial",
        "97.5% (96.5 to 98.5) of the clips: 1,064,709 (1,054,062 to 1,075,356) kept",
        "corrupt 2.5% (1.2 to 3.8): 27,300 (13,650 to 40,950) clips (5 seen)",
        "reasons not seen in the sample: at most 1.3% of the clips",
        "179 GB (161 GB to 197 GB): shards 178 GB",
        "150 GB free - NOT ENOUGH",
        "28.8 h (25.9 h to 31.7 h) with 2 workers here: 0.095 s (0.0855 to 0.105) a clip",
        "planning 23 s, start 6 s, once",
        "56.4 core-hours",
        "28.8 GPU-hours (25.9 to 31.7) on 1 GPU",
        "time     57.6 h  28.8 h\n",
    ):
        assert words in message, message
    assert "256" not in message
    for name in ("clip_s", "hours", "gpu_hours"):
        found["time"][name] |= {"low": None, "high": None}  # type: ignore[index]
    assert as_text(found, "OUT").count("too few clips for an interval") == 1


def test_figures_have_suitable_units() -> None:
    assert [size(count) for count in (0, 999, 4.2e6, 178.4e9, 3.25e12, 4e15)] == [
        *("0 B", "999 B", "4.2 MB", "178 GB"),
        *("3.25 TB", "4,000 TB"),
    ]
    assert [duration(hours) for hours in (0.001, 0.4, 1.6, 29.84, 1234)] == ["3.6 s", "24 min", "1.6 h", "29.8 h", "1,230 h"]
