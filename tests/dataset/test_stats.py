"""Counts and quantiles of clips against plain Python and numpy on the same rows; and output and errors of the command."""

import json
import statistics
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made import make_dataset
from moving import make_moving_dataset
from reports import reject
from s3_here import s3_here
from tables import Row, kept, lost, write_tables

from motionshards.dataset import sql, stats
from motionshards.dataset.stats import MEASURES, OF_VIDEO, StatsQuery
from motionshards.schemas.action_units import MEANS
from motionshards.schemas.errors import ConfigError
from motionshards.schemas.layout import INDEX
from motionshards.schemas.manifest import Manifest
from motionshards.transforms.extract.action_units.summary import variance_of

HALF = "blur > 50 and abs(yaw_deg) < 45"


def passes(row: Row) -> bool:
    """HALF by the rules of SQL: unknown conditions do not match."""
    return row["blur"] is not None and row["yaw_deg"] is not None and row["blur"] > 50 and abs(row["yaw_deg"]) < 45


def measure(row: Row, name: str) -> float | None:
    if name == "source_fps":
        return row["source_frames"] / row["duration_s"] if row["duration_s"] else None
    value = row.get(name)
    return float(np.float32(value)) if value is not None and name in ("blur", "yaw_deg") else value


def present(chosen: list[Row], name: str) -> list[float]:
    return [value for row in chosen if (value := measure(row, name)) is not None]


def counted(chosen: list[Row]) -> dict[str, Any]:
    return {
        "clips": len(chosen),
        "identities": len({row["identity"] for row in chosen}),
        "videos": len({(row["identity"], row["video"]) for row in chosen}),
        "frames": sum(row["n_frames"] for row in chosen),
        "hours": pytest.approx(sum(row["duration_s"] for row in chosen) / 3600),
    }


@pytest.mark.parametrize("where", [None, HALF])
def test_counts_and_quantiles_match_plain_numpy(tmp_path: Path, where: str | None) -> None:
    everything = kept(500)
    chosen = [row for row in everything if where is None or passes(row)]
    answer = stats.stats(write_tables(tmp_path / "out", everything), StatsQuery(where=where))
    assert answer["counts"] == {"matching": counted(chosen), "all": counted(everything)}
    assert tuple(answer["measures"]) == tuple(name for name in MEASURES if name not in (*MEANS, *OF_VIDEO)), (
        "the dataset has no action units"
    )
    for name, found in answer["measures"].items():
        values = present(chosen, name)
        assert found["present"] == len(values), name
        if not values:
            assert set(found.values()) == {0, None}
            continue
        cuts = np.quantile(np.array(values), [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        output = [found[key] for key in ("min", "p5", "p25", "p50", "p75", "p95", "max")]
        assert output == pytest.approx(cuts.tolist(), rel=1e-12)
        assert found["mean"] == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(
    ("by", "label"),
    [
        ("identity", lambda row: row["identity"]),
        ("video", lambda row: f"{row['identity']}/{row['video']}"),
        ("split", lambda row: row["split"]),
        ("source", lambda row: row["source"]),
        ("shard", lambda row: row["shard"]),
    ],
)
def test_groups_are_complete_and_have_the_medians_of_their_clips(tmp_path: Path, by: str, label: Callable[[Row], str]) -> None:
    everything = kept(300, seed=1)
    answer = stats.stats(
        write_tables(tmp_path / "out", everything), StatsQuery(where="n_frames > 4", by=by, columns=("blur", "source_fps"))
    )
    members: dict[str, list[Row]] = {}
    for row in everything:
        if row["n_frames"] > 4:
            members.setdefault(label(row), []).append(row)
    groups = {row.pop("name"): row for row in answer["groups"]}
    assert list(groups) == sorted(members, key=lambda name: (-len(members[name]), name))
    for name, found in groups.items():
        for column in ("blur", "source_fps"):
            values = present(members[name], column)
            assert found.pop(f"{column} p50") == (pytest.approx(statistics.median(values)) if values else None)
        assert found == counted(members[name])
    assert sum(found["clips"] for found in groups.values()) == answer["counts"]["matching"]["clips"]


def test_a_clip_without_the_measure_matches_neither_a_condition_nor_its_opposite(tmp_path: Path) -> None:
    everything = kept(200)
    out = write_tables(tmp_path / "out", everything)
    conditions = ("blur > 50", "not blur > 50", "blur is None")
    counts = [stats.stats(out, StatsQuery(where=where))["counts"]["matching"]["clips"] for where in conditions]
    assert sum(counts) == 200
    assert counts[2] == sum(row["blur"] is None for row in everything) > 0


def test_rejections_are_counted_by_reason_and_stage(tmp_path: Path) -> None:
    out = write_tables(tmp_path / "out", kept(10), lost(70))
    answer = stats.stats(out, StatsQuery(rejected=True, by="identity"))
    assert answer["reason"] == {"no_face": 30, "corrupt": 20, "unreadable": 20}
    assert answer["stage"] == {"landmarks": 30, "decode": 20, "read": 20}
    assert answer["retryable"] == 20
    assert answer["counts"]["all"] == {"clips": 70, "identities": 3, "videos": 3}
    assert [(row["name"], row["clips"]) for row in answer["groups"]] == [("id0", 24), ("id1", 23), ("id2", 23)]
    retryable = stats.stats(out, StatsQuery(rejected=True, where="retryable and identity == 'id1'", by="reason"))
    assert retryable["reason"] == {"unreadable": retryable["counts"]["matching"]["clips"]}
    assert [row["name"] for row in retryable["groups"]] == ["unreadable"]


def test_only_the_index_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_dataset(tmp_path / "out", 40, aus=True)
    for tar in out.glob("*/*.tar"):
        tar.unlink()
    assert stats.main([str(out), "--where", "au_valid > 0.5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    index = pq.read_table(out / INDEX, columns=["au_valid", "n_frames"])
    share = index["au_valid"].to_numpy()
    assert answer["counts"]["matching"]["clips"] == int((share > 0.5).sum()) > 0
    assert answer["measures"]["au_valid"]["p50"] == pytest.approx(float(np.median(share[share > 0.5].astype(np.float64))))


def test_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(write_tables(tmp_path / "out", kept(500), lost(70)))
    assert stats.main([out, "--where", HALF, "--by", "video", "--top", "3", "--columns", "blur,yaw_deg"]) == 0
    counts, measures, groups = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    chosen = [row for row in kept(500) if passes(row)]
    matching = len(chosen)
    assert counts[1].split() == ["clips", str(matching), "500", f"{matching / 5:.1f}%"]
    assert measures[0].split() == ["measure", "present", "min", "p5", "p25", "p50", "p75", "p95", "max", "mean"]
    assert [line.split()[0] for line in measures[1:]] == ["blur", "yaw_deg"]
    assert len(groups) == 1 + 3 + 1
    assert counts[-1].startswith("source video") and counts[-1].split()[3] in ("s", "min", "h")
    assert stats.main([out, "--columns", "blur,identity_spread"]) == 0
    assert "identity_spread" not in capsys.readouterr().out
    assert stats.main([out, "--columns", "identity_spread"]) == 0
    assert "no clip has a value of identity_spread" in capsys.readouterr().out
    assert groups[-1] == f"… and {len({(row['identity'], row['video']) for row in chosen}) - 3} more"
    assert stats.main([out, "--rejected"]) == 0
    output = capsys.readouterr().out
    assert "no_face        30  42.9%" in output
    assert "20 of them may succeed when retried" in output


def test_a_condition_without_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(write_tables(tmp_path / "out", kept(30)))
    for more in ([], ["--by", "identity"], ["--rejected", "--by", "reason"]):
        where = "reason == 'x'" if more[:1] == ["--rejected"] else "blur > 1e9"
        assert stats.main([out, "--where", where, *more]) == 0
        assert capsys.readouterr().out == f"no clip matches, of {'0 rejected' if '--rejected' in more else '30 kept'} clips\n"
        assert stats.main([out, "--where", where, *more, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["counts"]["matching"]["clips"] == 0
        assert answer.get("groups", []) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--where", "blurr > 5"], "unknown column blurr; did you mean blur?"),
        (["--where", "blur >"], "invalid syntax"),
        (["--where", "reason == 'no_face'"], "unknown column reason"),
        (["--rejected", "--where", "blur > 5"], "unknown column blur"),
        (["--columns", "blur,yaw"], "there is no measure 'yaw'; did you mean yaw_deg?"),
        (["--columns", ""], "there is no measure ''"),
        (["--columns", "identity"], "there is no measure 'identity'"),
        (["--rejected", "--columns", "blur"], "cannot be combined with --rejected"),
        (["--by", "reason"], "--by reason needs --rejected"),
        (["--by", "has_audio", "--rejected"], "--by has_audio cannot be combined with --rejected"),
        (["--by", "blur"], 'Invalid value "blur" for --by'),
        (["--top", "0"], 'Invalid value "0" for --top'),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    out = write_tables(tmp_path / "out", kept(3))
    try:
        status = stats.main([str(out), *more])
    except SystemExit as ended:
        status = ended.code  # type: ignore[assignment]
    output = capsys.readouterr()
    assert (status, output.out, output.err.count("\n")) == (2, "", 1)
    assert message in output.err


def test_a_dataset_in_an_object_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_tables(tmp_path / "out", kept(20))
    with s3_here() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        for path in (out / INDEX, out / "dataset.json"):
            store.put(f"set/{path.name}", path.read_bytes())
        assert stats.main(["s3://data/set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(stats.stats(out, StatsQuery())))


def test_a_missing_unfinished_or_damaged_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = write_tables(tmp_path / "out", kept(3))
    replace(Manifest.read(out), complete=False).write(out)
    wrong = [tmp_path / "none", tmp_path, out / INDEX, out]
    assert [stats.main([str(path)]) for path in wrong] == [2] * 4
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'none'} does not exist",
        f"error: {tmp_path} holds no dataset: dataset.json is missing; did you mean {out}?",
        f"error: {out / INDEX} is not a directory",
        f"error: {out}: the build is unfinished; run it again",
    ]
    replace(Manifest.read(out), complete=True).write(out)
    (out / INDEX).write_bytes(b"PAR1 and no more")
    assert stats.main([str(out)]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert f"{out / INDEX} cannot be read" in output


def test_rejections_have_no_medians() -> None:
    with pytest.raises(ConfigError):
        StatsQuery(rejected=True, columns=("blur",))


def test_action_units_have_histograms_and_variance_within_and_between_identities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = make_dataset(tmp_path / "out", 40, aus=True, identity=lambda clip: clip % 5)
    rows = pq.read_table(out / INDEX)
    answer = stats.stats(out, StatsQuery(by="identity", columns=("au12", "blur")))
    found, values = answer["measures"]["au12"], rows["au12"].to_numpy()
    assert found["histogram"] == np.histogram(values[np.isfinite(values)], 10, (0, 5))[0].tolist()
    people = pc.dictionary_encode(rows["identity"].combine_chunks()).indices.to_numpy()
    assert (found["between"], found["within"]) == pytest.approx(astuple(variance_of(values, people)))  # type: ignore[arg-type]
    assert "histogram" not in answer["measures"]["blur"] and answer["measures"]["blur"]["within"] > 0
    assert {"au01", "au45"} < stats.stats(out, StatsQuery())["measures"].keys()
    assert stats.main([str(out), "--by", "identity", "--columns", "au12,blur"]) == 0
    output = capsys.readouterr().out.splitlines()
    (head,) = (line for line in output if line.startswith("measure"))
    assert head.split()[-6:] == ["between", "within", "share_between", "0", "to", "5"]
    assert any(line.startswith("au12") and "█" in line for line in output)
    assert stats.stats(out, StatsQuery(where="au12 > 2"))["counts"]["matching"]["clips"] == int((values > 2).sum())


@pytest.mark.parametrize("store", ["video", "both"])
def test_stored_video_and_sound_are_counted_filtered_and_grouped(tmp_path: Path, store: str) -> None:
    out = reject(make_moving_dataset(tmp_path / "out", 6, store=store, sound=lambda clip: clip % 3), [])
    answer = stats.stats(out, StatsQuery(by="has_audio", columns=("fps", "audio_level_db", "has_audio")))
    counts = {"video_frames": 270, "with_sound": 4, "sound_hours": pytest.approx(190 / 25 / 3600)}
    assert answer["counts"]["all"] == {**answer["counts"]["all"], **counts}
    assert answer["measures"]["has_audio"]["mean"] == pytest.approx(4 / 6), "the fraction with sound"
    assert (answer["measures"]["fps"]["max"], answer["measures"]["audio_level_db"]["present"]) == (25, 4)
    found = [(row["name"], row["clips"], row["video_frames"], row["audio_level_db p50"]) for row in answer["groups"]]
    assert found == [("true", 4, 190, pytest.approx(-42.12)), ("false", 2, 80, None)]
    for where, clips in (
        ("has_audio", 4),
        ("not has_audio", 2),
        ("audio_level_db < -40 and audio_silence > 0.8", 4),
        ("audio_level_db is None and fps == 25", 2),
        ("video_frames > 42 or audio_hz == 16000", 4),
        ("audio_speech > 0.5", 0),
    ):
        assert stats.stats(out, StatsQuery(where=where))["counts"]["matching"]["clips"] == clips, where
    assert set(OF_VIDEO) <= stats.stats(out, StatsQuery())["measures"].keys()
    with sql.select(out, "SELECT has_audio, sum(video_frames / fps) AS seconds FROM clips GROUP BY ALL") as (_, batches):
        rows = [row for batch in batches for row in batch.to_pylist()]
    assert rows == [{"has_audio": False, "seconds": 3.2}, {"has_audio": True, "seconds": pytest.approx(7.6)}]
