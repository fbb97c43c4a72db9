"""The lab's external programs and upstream files: found, fetched or built, as `data/tools.yaml` pins them.

Order: PATH → cache → installed Python package → official release → `go build` of the Go module; each program has some
of these ways.
"""

from labkit.toolchain.catalogue import Catalogue, load_catalogue
from labkit.toolchain.toolset import Tool, Toolset, ensure_tools, find_tools, link_into

__all__ = ["Catalogue", "Tool", "Toolset", "ensure_tools", "find_tools", "link_into", "load_catalogue"]
