"""Statistics of the report, compared with plain numpy and Python."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from motionshards.dataset.query.where import parse
from motionshards.dataset.report.charts import histogram, zoom
from motionshards.dataset.report.choice import choose
from motionshards.dataset.report.clips import MEASURES, MOST_FACES, read_clips
from motionshards.dataset.report.distribution import distribution, of_counts
from motionshards.dataset.report.figures import figures
from motionshards.dataset.report.formatting import hours, number, percent, plural, size
from motionshards.dataset.report.markup import Markup, element
from motionshards.dataset.report.rejected import CASES, read_rejections
from motionshards.dataset.report.tables import rows_at
from motionshards.schemas.errors import DatasetError
from motionshards.schemas.layout import INDEX, REJECTIONS
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

CLIPS = 500


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    """Clips with all kinds of missing values: no face size, no list of frames, frames without pose, no duration, many faces."""
    random = np.random.default_rng(5)
    generated = []
    for clip in range(CLIPS):
        frames = int(random.integers(1, 6))
        yaw, pitch = random.normal(0, 40, (2, frames)).astype(np.float32)
        yaw[random.random(frames) < 0.2] = np.nan
        generated.append(
            {
                "key": f"id{clip}/v/{clip}",
                "split": "train" if clip % 9 else "test",
                "identity": f"id{int(random.exponential(12)):03d}",
                "n_frames": frames,
                "source_frames": int(random.integers(20, 300)),
                "duration_s": None if clip % 50 == 7 else float(random.gamma(4, 2)),
                **{name: None if random.random() < 0.1 else float(random.normal(50, 20)) for name in MEASURES},
                "frame_faces": None if clip % 40 == 3 else random.choice([0, 1, 1, 2, 30, None], frames).tolist(),
                "frame_yaw_deg": None if clip % 30 == 3 else yaw.tolist(),
                "frame_pitch_deg": None if clip % 31 == 3 else pitch.tolist(),
            }
        )
    return generated


@pytest.fixture(scope="module")
def index(rows: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / INDEX
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), path, row_group_size=64)
    return path


def test_columns_of_clips_are_those_of_the_table(index: Path, rows: list[dict[str, object]]) -> None:
    clips = read_clips(index)
    assert clips.listed == len(clips) == CLIPS
    assert [clips.splits[code] for code in clips.split] == [row["split"] for row in rows]
    assert [clips.identities[code] for code in clips.identity] == [row["identity"] for row in rows]
    assert list(clips.identities) == sorted({str(row["identity"]) for row in rows})
    for name in MEASURES:
        np.testing.assert_array_equal(clips.measures[name], np.array([row[name] for row in rows], np.float32))


def test_sums_over_frames_match_plain_numpy(index: Path, rows: list[dict[str, object]]) -> None:
    clips = read_clips(index)
    seen = [face for row in rows for face in row["frame_faces"] or []]
    for faces in range(MOST_FACES):
        assert clips.faces[faces] == seen.count(faces)
    assert clips.faces[MOST_FACES] == seen.count(30)
    assert clips.faces_absent == seen.count(None)
    pairs = [pair for row in rows for pair in zip(row["frame_yaw_deg"] or [], row["frame_pitch_deg"] or [], strict=False)]
    known = np.array([pair for pair in pairs if not np.isnan(pair).any()])
    expected, *_ = np.histogram2d(*known.T.clip(-90, 89.9), bins=[np.arange(-90, 91)] * 2)
    np.testing.assert_array_equal(clips.pose, expected)


@pytest.mark.parametrize(("width", "most"), [(12, 15), (16, 30), (80, 90)])
def test_the_map_of_poses_shows_the_range_of_the_data(width: int, most: int) -> None:
    yaw, pitch = np.random.default_rng(0).uniform(-width, width, (2, 3000))
    yaw[0], pitch[0] = width, -width
    pose, *_ = np.histogram2d(yaw, pitch, bins=[np.arange(-90, 91)] * 2)
    zoomed = zoom(pose.astype(np.int64))
    expected, *_ = np.histogram2d(yaw, pitch, bins=[np.linspace(-most, most, 31)] * 2)
    np.testing.assert_array_equal(zoomed.counts, expected)
    assert (zoomed.most_deg, zoomed.beyond) == (most, 0)


def test_outliers_do_not_widen_the_map_of_poses() -> None:
    pose = np.zeros((180, 180), np.int64)
    pose[85:95, 85:95], pose[0, 179] = 100, 7
    zoomed = zoom(pose)
    assert (zoomed.most_deg, zoomed.beyond, zoomed.counts[0, -1], zoomed.counts.sum()) == (15, 7, 7, pose.sum())


def test_a_value_that_equals_an_edge_up_to_rounding_is_not_below_it() -> None:
    values = np.array([2.8] * 4 + [3.0, 3.2], np.float32)
    spread = distribution(values.astype(np.float64))
    assert float(values[0]) < 2.8 and spread.edges[0] <= 2.8 + 1e-9
    assert (spread.below, spread.above, spread.counts.sum()) == (0, 0, 6)


def test_a_condition_selects_and_rows_keep_their_numbers(index: Path, rows: list[dict[str, object]]) -> None:
    clips = read_clips(index, parse("blur > 50 and split == 'train'"))
    expected = [number for number, row in enumerate(rows) if (row["blur"] or 0) > 50 and row["split"] == "train"]
    assert clips.row.tolist() == expected
    assert clips.listed == CLIPS
    assert clips.splits == ("train",)


def test_totals_of_splits_and_identities_are_consistent(index: Path, rows: list[dict[str, object]]) -> None:
    found = figures(read_clips(index))
    for share in found.splits:
        mine = [row for row in rows if row["split"] == share.name]
        assert (share.clips, share.identities) == (len(mine), len({row["identity"] for row in mine}))
        assert share.frames == sum(row["n_frames"] for row in mine)
        assert share.seconds == pytest.approx(sum(row["duration_s"] or 0 for row in mine))
    seconds: dict[object, float] = {}
    for row in rows:
        seconds[row["identity"]] = seconds.get(row["identity"], 0) + (row["duration_s"] or 0)
    ordered = sorted(seconds, key=lambda name: -seconds[name])
    assert [share.name for share in found.longest] == ordered[:10]
    assert [share.name for share in found.shortest] == ordered[::-1][:10]
    assert found.clips_each.present == found.total.identities == len(seconds)
    fps = np.array([row["source_frames"] / row["duration_s"] for row in rows if row["duration_s"]])
    assert found.measures["source_fps"].quantiles == pytest.approx(np.quantile(fps, [0.05, 0.5, 0.95]))
    assert found.measures["source_fps"].absent == CLIPS - len(fps)


def test_an_empty_index_has_statistics(tmp_path: Path) -> None:
    pq.write_table(INDEX_SCHEMA.empty_table(), tmp_path / INDEX)
    clips = read_clips(tmp_path / INDEX)
    found = figures(clips)
    assert (len(clips), found.total.clips, found.splits, found.longest) == (0, 0, (), ())
    assert all(spread.quantiles is None for spread in found.measures.values())
    assert len(choose(clips, 24, 0)) == 0


@pytest.mark.parametrize("spoil", ["columns", "bytes", "absent"])
def test_an_unusable_index_is_a_dataset_error(tmp_path: Path, spoil: str) -> None:
    if spoil == "columns":
        pq.write_table(INDEX_SCHEMA.empty_table().set_column(0, "key", pa.array([], pa.list_(pa.int8()))), tmp_path / INDEX)
    elif spoil == "bytes":
        (tmp_path / INDEX).write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match="cannot be read"):
        list(rows_at(tmp_path / INDEX, INDEX_SCHEMA, ["key"], np.array([0])))


def test_a_column_missing_in_an_earlier_version_is_null(tmp_path: Path) -> None:
    pq.write_table(INDEX_SCHEMA.empty_table().drop_columns(["blur"]), tmp_path / INDEX)
    assert figures(read_clips(tmp_path / INDEX)).measures["blur"].quantiles is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_a_distribution_counts_all_values_between_round_edges(scale: float) -> None:
    values = np.random.default_rng(1).normal(3, 1, 20_000) * scale
    values[::100] = np.nan
    spread = distribution(values)
    known = values[~np.isnan(values)]
    inner, _ = np.histogram(known, spread.edges)
    np.testing.assert_array_equal(spread.counts[1:-1], inner[1:-1])
    assert spread.present == len(known)
    assert spread.absent == 200
    assert spread.below == (known < spread.edges[0]).sum() > 0
    assert spread.above == (known > spread.edges[-1]).sum() > 0
    assert spread.quantiles == tuple(np.quantile(known, [0.05, 0.5, 0.95]))
    assert 20 <= len(spread.counts) <= 42


@pytest.mark.parametrize("value", [0.0, 25.0, -1e9, 1e-12])
def test_equal_values_have_a_single_bar(value: float) -> None:
    spread = distribution(np.full(30, value))
    assert sorted(spread.counts) == [0, 0, 0, 0, 30]
    assert spread.edges[0] <= value <= spread.edges[-1]


def test_each_integer_has_a_bin() -> None:
    values = np.random.default_rng(2).poisson(3, 1001)
    spread = of_counts(np.bincount(values, minlength=50), absent=4)
    np.testing.assert_array_equal(spread.counts, np.bincount(values))
    assert spread.edges[0] == -0.5
    assert spread.quantiles == tuple(np.quantile(values, [0.05, 0.5, 0.95], method="inverted_cdf"))
    assert of_counts(np.zeros(5, np.int64), 0).quantiles is None


def test_the_selection_is_deterministic_and_includes_small_splits_and_all_people(index: Path) -> None:
    clips = read_clips(index)
    chosen = choose(clips, 24, 0)
    assert len(set(chosen.tolist())) == 24
    assert chosen.tolist() == sorted(chosen.tolist()) == choose(clips, 24, 0).tolist() != choose(clips, 24, 1).tolist()
    splits = clips.split[chosen]
    assert np.bincount(splits)[clips.splits.index("test")] >= 5  # a ninth of the clips would be 2 or 3
    for split in range(2):
        people = clips.identity[chosen][splits == split]
        assert len(set(people.tolist())) == len(people)
    assert choose(clips, 10_000, 0).tolist() == list(range(CLIPS))


def test_rejections_are_counted_and_sampled(tmp_path: Path) -> None:
    reasons = ["no_face"] * 30 + ["corrupt"] * 3 + ["no_face"] * 10 + [None]
    rows = [{"key": f"k{number}", "reason": reason} for number, reason in enumerate(reasons)]
    pq.write_table(pa.Table.from_pylist(rows, REJECTIONS_SCHEMA), tmp_path / REJECTIONS, row_group_size=7)
    found = read_rejections(tmp_path, 0)
    assert (found.counts, found.total) == ({"no_face": 40, "corrupt": 3, "": 1}, 44)
    assert [row["key"] for row in found.cases["corrupt"]] == ["k30", "k31", "k32"]
    assert len({row["key"] for row in found.cases["no_face"]}) == CASES
    assert read_rejections(tmp_path, 0) == found != read_rejections(tmp_path, 1)


def test_everything_except_markup_is_escaped() -> None:
    generated = element("a", "<b>&", Markup("<i>"), title='"<', class_="x", data_n=1.5, hidden=True, id=None)
    assert generated == '<a title="&quot;&lt;" class="x" data-n="1.5" hidden>&lt;b&gt;&amp;<i></a>'


def test_numbers_are_formatted_for_display() -> None:
    assert [number(value) for value in (0, -0.0004, 0.0354, 1.5, 12.34, -99.99, 1234.5)] == [
        "0",
        "0",
        "0.035",
        "1.5",
        "12.3",
        "−100",
        "1,234",
    ]
    assert [percent(*pair) for pair in ((0, 0), (1, 3), (1, 10_000), (5, 5))] == ["0 %", "33.3 %", "< 0.1 %", "100 %"]
    assert [hours(value) for value in (2, 90, 7200 * 1000)] == ["2 s", "1.5 min", "2,000 h"]
    assert [size(value) for value in (999, 4_200_000)] == ["999 B", "4.2 MB"]
    assert [plural(value, "identity", "identities") for value in (1, 2000)] == ["1 identity", "2,000 identities"]


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.3), (0.02, 0.045), (-2, 2.5), (120, 120), (0.0001, 0.00019)])
def test_ticks_of_a_histogram_are_several_different_numbers(low: float, high: float) -> None:
    """The first edge of the first case is one half, as if its bins were centered on integers."""
    chart = str(histogram(distribution(np.linspace(low, high, 50)), "Score", "", "clips"))
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
    assert len(labels) >= 3 and len(set(labels)) == len(labels)
