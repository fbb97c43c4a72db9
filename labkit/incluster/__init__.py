"""What the lab installs into clusters that are not embedded: what, where, whether it may, and all of it out again."""

from labkit.incluster.components import Installation, installations, rules
from labkit.incluster.examine import assert_installable, examine
from labkit.incluster.install import install, needed_tools
from labkit.incluster.installed import InstalledTable, installed_table
from labkit.incluster.uninstall import LeftTable, uninstall

__all__ = [
    "Installation",
    "InstalledTable",
    "LeftTable",
    "assert_installable",
    "examine",
    "install",
    "installations",
    "installed_table",
    "needed_tools",
    "rules",
    "uninstall",
]
