"""The folders behind claims."""

import pytest

from labkit.podrunner.environment import ConfigError, Sources
from labkit.podrunner.sandbox import Sandbox
from labkit.podrunner.storage import claims, volume_folder

POD = {
    "spec": {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "database"}}, {"name": "t", "emptyDir": {}}]
    }
}


def _volume(path):
    return {"metadata": {"name": "disk-1"}, "spec": {"hostPath": {"path": str(path)}}}


def test_the_claims_of_a_pod():
    assert claims(POD) == {"data": "database"}
    assert claims({"spec": {}}) == {}


def test_the_folder_of_a_volume(tmp_path):
    assert volume_folder(_volume(tmp_path / "disk-1"), tmp_path) == tmp_path / "disk-1"


@pytest.mark.parametrize("path", ["/etc", "{root}", "{root}/../elsewhere", ""])
def test_a_folder_elsewhere_on_this_machine_is_refused(tmp_path, path):
    with pytest.raises(ConfigError, match="disk-1 is no folder of the lab's volumes"):
        volume_folder(_volume(path.format(root=tmp_path)), tmp_path)


def test_what_is_on_a_volume_outlives_the_pod(tmp_path):
    disk = tmp_path / "disk-1"
    disk.mkdir()
    for name in ("first", "second"):
        sandbox = Sandbox(tmp_path / name)
        sandbox.create()
        for _ in range(2):  # a container that is started again finds its volumes prepared
            sandbox.prepare_volumes(POD, Sources(), {"data": disk})
        with (sandbox.folder / "volumes" / "data" / "orders").open("a") as file:
            file.write(name)
        sandbox.remove()
    assert (disk / "orders").read_text() == "firstsecond"
