"""Executes the notebooks of docs/notebooks and stores their outputs: python docs/execute_notebooks.py [NOTEBOOK …]

Run in the root of the checkout, they use the dataset of `make demo`, or build it there.
"""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).resolve().parent / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000
"""Size limit of a notebook with its outputs: git keeps every version of its images."""
_TIMEOUT_S = 1500


def execute(path: Path, place: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, executed in the directory `place` by a kernel of this interpreter.

    Raises:
        CellExecutionError: a cell failed
    """
    notebook = nbformat.read(path, nbformat.current_nbformat)
    resources = {"metadata": {"path": str(place)}}
    NotebookClient(notebook, timeout=_TIMEOUT_S, kernel_name="python3", record_timing=False, resources=resources).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


def with_jpegs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its PNG images as JPEG, which takes a fifth of the space where they show faces."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/jpeg"] = _jpeg(data.pop("image/png"))
    return notebook


def _jpeg(png: str) -> str:
    content = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(content, "JPEG", quality=80)
    return base64.b64encode(content.getvalue()).decode()


def main() -> None:
    """Execute the named notebooks, or all, in the current directory, and replace them."""
    for path in map(Path, sys.argv[1:] or NOTEBOOKS):
        notebook = with_jpegs(execute(path, Path.cwd()))
        text = nbformat.writes(notebook) + "\n"
        if len(text) > MOST_BYTES:
            sys.exit(f"{path} has {len(text):,} bytes with its outputs, more than {MOST_BYTES:,}: show fewer clips")
        path.write_text(text)
        print(f"{os.path.relpath(path)}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
