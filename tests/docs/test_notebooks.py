"""The notebooks run in an empty directory, and their stored outputs are small and complete."""

import re
from pathlib import Path

import execute_notebooks
import nbformat
import pytest
from markdown_code import links

NOTEBOOKS = execute_notebooks.NOTEBOOKS


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def images(notebook: nbformat.NotebookNode, kind: str) -> int:
    return sum(f"image/{kind}" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_small_and_complete(path: Path) -> None:
    assert path.stat().st_size <= execute_notebooks.MOST_BYTES
    notebook = nbformat.read(path, nbformat.current_nbformat)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run make notebooks"
    assert images(notebook, "jpeg") >= 3 and not images(notebook, "png")
    assert str(Path.home()) not in printed(notebook) and str(path.parents[2]) not in path.read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_are_valid(path: Path) -> None:
    notebook = nbformat.read(path, nbformat.current_nbformat)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = [target for _, target in links(text, path.name)]
    assert targets and not [target for target in targets if not (path.parent / target).exists()]


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_in_an_empty_directory(path: Path, tmp_path: Path) -> None:
    stored = nbformat.read(path, nbformat.current_nbformat)
    executed = execute_notebooks.execute(path, tmp_path)
    assert images(executed, "png") == images(stored, "jpeg")
    if found := re.search(r"mean error ([\d.]+) px, of the mean face ([\d.]+) px", printed(executed)):
        assert float(found[1]) < 0.5 * float(found[2])
    assert bool(found) == (path.stem == "train-for-a-minute")
