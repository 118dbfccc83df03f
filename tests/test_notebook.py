"""The notebook beside the demo: it runs from its first cell to its last, and what it shows is what comes."""

import os
from pathlib import Path

import pytest

from support import HANGS_AFTER, ROOT
from support.command import COMMANDS

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("torch")  # its second conversion goes through ONNX
pytest.importorskip("onnx")

pytestmark = pytest.mark.extras("nbclient")

NOTEBOOK = ROOT / "demos/gpt2_text_prediction_demo/python/gpt2_text_prediction.ipynb"


def texts(notebook) -> dict[str, str]:
    """Return what each cell that draws nothing has printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and "seed=" not in cell.source]
    return {cell.source: "".join(output.get("text", "") for output in cell.outputs) for cell in cells}


@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_the_notebook_runs_and_shows_what_it_did(tmp_path):
    kept = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=HANGS_AFTER,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"})
    assert texts(notebook) == texts(kept)
    (plot,) = [cell for cell in kept.cells if "plt.show()" in cell.source]
    assert any("image/png" in output.get("data", {}) for output in plot.outputs)


def test_every_cell_was_run_in_order_and_no_path_of_a_machine_is_kept():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(str(Path.home()) in str(cell.outputs) or "/tmp/" in str(cell.outputs) for cell in cells)
