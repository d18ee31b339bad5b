"""Separation of identities by generated face descriptors, and its section of the page."""

from pathlib import Path

import numpy as np
import pytest
from made import make_dataset
from reports import plain, reject, report

import motionshards.dataset.people.__main__
from motionshards.dataset.report.separation import separation


def test_area_and_equal_error_rate_match_their_definitions() -> None:
    """Computed by brute force over every pair of pairs."""
    random = np.random.default_rng(0)
    identity = random.integers(0, 6, 40).astype(np.int32)
    found = (np.eye(128)[identity] * 0.12 + random.normal(0, 0.02, (40, 128))).astype(np.float32)
    found[3] = np.nan
    result = separation(found, identity)
    pairs = [(a, b) for a in range(40) for b in range(a) if 3 not in (a, b)]
    apart = {True: np.empty(0), False: np.empty(0)}
    for a, b in pairs:
        kind = bool(identity[a] == identity[b])
        apart[kind] = np.append(apart[kind], np.linalg.norm(found[a] - found[b]))
    same, other = apart[True], apart[False]
    assert (result.same.present, result.other.present) == (len(same), len(other))
    assert result.area == pytest.approx((same[:, None] < other).mean(), abs=1e-3) and 0.6 < result.area < 0.99
    wrong = ((other <= result.threshold).mean(), (same > result.threshold).mean())
    assert wrong[0] == pytest.approx(result.error, abs=5e-3) and abs(wrong[0] - wrong[1]) < 0.02
    assert (np.diff(result.curve, axis=0) >= 0).all()
    assert result.curve[0].tolist() == [0, 0] and result.curve[-1].tolist() == [1, 1]


def test_separable_people_and_no_pairs() -> None:
    eye = np.eye(128, dtype=np.float32)[[0, 0, 1, 1]]
    clear = separation(eye, np.array([0, 0, 1, 1], np.int32))
    assert (clear.area, clear.error) == (1.0, 0.0) and 0 <= clear.threshold < np.sqrt(2)
    assert separation(eye, np.zeros(4, np.int32)).area is None
    assert separation(eye[:0], np.zeros(0, np.int32)).area is None


def test_the_page_has_the_section_if_there_are_descriptors(tmp_path: Path) -> None:
    who = np.eye(128, dtype=np.float32)
    dataset = make_dataset(tmp_path / "data", 12, identity=lambda clip: clip % 3, embedding=lambda clip: who[clip % 3])
    out = reject(dataset, [])
    text = plain(report(out))
    assert "All pairs of 12 random clips. Area under the ROC curve: 1.0000" in text
    assert "Face descriptors are biometric data" in text and "Findings of dataset.people" not in text
    assert motionshards.dataset.people.__main__.main([str(out), "--quiet", "--json"]) == 0
    page = report(out)
    assert "people in clips with a face 3 clips that do not show the person of their identity 0" in plain(page)
    assert page.count('class="roc"') == 1
    without = report(reject(make_dataset(tmp_path / "without", 12), []))
    assert 'id="identity"' not in without and 'class="roc"' not in without
