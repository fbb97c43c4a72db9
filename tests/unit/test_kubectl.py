"""kubectl as the notebooks show it."""

import pytest

from labkit.config import load_lab
from labkit.errors import LabError, UsageError
from labkit.kubectl import Shown, kubectl
from labkit.paths import LabHome


@pytest.fixture
def lab(tmp_path):
    return load_lab(LabHome(tmp_path / "lab"))


@pytest.mark.parametrize(
    "command",
    [
        "",
        "helm list",
        "rm -rf kubectl",
        "get pods",
        "sudo kubectl get pods",
        "/usr/bin/kubectl get pods",
        "KUBECTL get",
    ],
)
def test_other_commands_are_refused(lab, command):
    with pytest.raises(UsageError, match="is not a kubectl command") as caught:
        kubectl(lab, command)
    assert caught.value.exit_code == 2


def test_an_open_quote_is_wrong_usage(lab):
    with pytest.raises(UsageError, match="is not a command") as caught:
        kubectl(lab, "kubectl get pods -l 'app")
    assert caught.value.seen == "No closing quotation"


def test_a_lab_without_kubectl_says_so(lab):
    with pytest.raises(LabError, match="kubectl version` could not start"):
        kubectl(lab, "kubectl version")


def test_a_command_is_shown_above_its_output():
    shown = Shown("kubectl get pods", "NAME\nfrontend")
    assert str(shown) == repr(shown) == "$ kubectl get pods\nNAME\nfrontend"


def test_html_shows_both_as_they_are():
    page = Shown("kubectl get pods -o jsonpath='{<b>}'", "<script>alert(1)</script> & more")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "jsonpath=&#x27;{&lt;b&gt;}&#x27;" in page
