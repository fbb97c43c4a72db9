"""Keeps the outputs of a run's check cells in the notebooks: `python tests/notebooks $LABKIT_HOME/runs/<time>`.

Only cells with the tag `keep_output` get them, with their execution count: these are what nbval compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from labkit.paths import NOTEBOOKS


def keep_outputs(run: Path) -> list[str]:
    """Copy the outputs of the check cells of a run.

    Args:
        run: The folder with the executed copies.

    Returns:
        The notebooks that have been written.
    """
    written = []
    for copy in sorted(run.glob("*.ipynb")):
        notebook = nbformat.read(NOTEBOOKS / copy.name, as_version=4)
        executed = {cell.id: cell for cell in nbformat.read(copy, as_version=4).cells}
        for cell in notebook.cells:
            if "keep_output" in cell.metadata.get("tags", []):
                found = executed[cell.id]
                cell.outputs = [output for output in found.outputs if output.output_type == "execute_result"]
                cell.execution_count = found.execution_count
                for output in cell.outputs:
                    output.metadata = {}
        nbformat.write(notebook, NOTEBOOKS / copy.name)
        written.append(copy.name)
    return written


if __name__ == "__main__":
    print("\n".join(keep_outputs(Path(sys.argv[1]))))
