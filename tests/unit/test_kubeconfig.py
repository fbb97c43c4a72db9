"""The lab's kubeconfig."""

import kubernetes
import pytest
import yaml

from labkit.clusters.kubeconfig import read_access, write_kubeconfig
from labkit.errors import LabError, UsageError
from labkit.kube import Kube


def _access(*contexts):
    return {
        name: {"cluster": {"server": f"https://127.0.0.1:{port}"}, "user": {"token": f"token-{name}"}}
        for port, name in enumerate(contexts, start=1)
    }


@pytest.fixture
def file(tmp_path):
    return tmp_path / "lab" / "kubeconfig"


def _use(file, context):
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"current-context": context}))


def test_the_official_client_reads_it(file):
    write_kubeconfig(file, _access("gitops-dev", "gitops-pre"))
    contexts, current = kubernetes.config.list_kube_config_contexts(str(file))
    assert [context["name"] for context in contexts] == ["gitops-dev", "gitops-pre"]
    assert current["name"] == "gitops-dev"
    client = kubernetes.config.new_client_from_config(str(file), context="gitops-pre")
    assert client.configuration.host == "https://127.0.0.1:2"
    assert "Bearer token-gitops-pre" in client.configuration.api_key.values()


def test_only_its_owner_reads_it(file):
    write_kubeconfig(file, _access("gitops-dev"))
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    write_kubeconfig(file, _access("gitops-dev"))
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_current_context_stays(file):
    write_kubeconfig(file, _access("gitops-dev", "gitops-pre", "gitops-prod"))
    _use(file, "gitops-prod")
    write_kubeconfig(file, _access("gitops-dev", "gitops-pre", "gitops-prod"))
    assert yaml.safe_load(file.read_text())["current-context"] == "gitops-prod"


def test_a_current_context_that_is_gone_is_replaced(file):
    write_kubeconfig(file, _access("gitops-dev", "gitops-prod"))
    _use(file, "gitops-prod")
    write_kubeconfig(file, _access("gitops-dev", "gitops-pre"))
    assert yaml.safe_load(file.read_text())["current-context"] == "gitops-dev"


@pytest.mark.parametrize("content", ["", "{}", "current-context: null\n"])
def test_an_empty_file_is_replaced(file, content):
    file.parent.mkdir()
    file.write_text(content)
    write_kubeconfig(file, _access("gitops-dev"))
    assert yaml.safe_load(file.read_text())["current-context"] == "gitops-dev"


def test_nothing_else_is_left_beside_it(file):
    write_kubeconfig(file, _access("gitops-dev"))
    write_kubeconfig(file, {})
    assert [item.name for item in file.parent.iterdir()] == ["kubeconfig"]
    assert yaml.safe_load(file.read_text())["contexts"] == []


def test_a_missing_file_or_context_is_said_with_the_way_out(file):
    with pytest.raises(LabError, match="There is no") as caught:
        Kube(file, "gitops-dev")
    assert "labkit clusters create" in caught.value.todo
    write_kubeconfig(file, _access("gitops-dev"))
    with pytest.raises(LabError, match="has no context gitops-prod") as caught:
        Kube(file, "gitops-prod")
    assert "labkit clusters create" in caught.value.todo


# Those of others, which are only read


def test_a_context_is_read_with_its_files_by_their_whole_path(file):
    write_kubeconfig(
        file, {"one": {"cluster": {"server": "https://a", "certificate-authority": "ca.crt"}, "user": {"token": "t"}}}
    )
    access = read_access(file, "one", todo="")
    assert access["cluster"] == {"server": "https://a", "certificate-authority": str(file.parent / "ca.crt")}
    assert access["user"] == {"token": "t"}


def test_a_context_that_is_not_there_is_named_with_those_that_are(file):
    write_kubeconfig(file, _access("one", "two"))
    with pytest.raises(UsageError, match="has no context 'three'") as caught:
        read_access(file, "three", todo="name another")
    assert caught.value.seen == "its contexts: one, two"


@pytest.mark.parametrize("text", ["", "[]", "a: [", "just text"])
def test_what_is_no_kubeconfig_is_refused(file, text):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError):
        read_access(file, "one", todo="")


def test_a_context_of_a_cluster_that_is_not_there_is_refused(file):
    write_kubeconfig(file, _access("one"))
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(content | {"clusters": []}))
    with pytest.raises(UsageError, match="that the file does not have"):
        read_access(file, "one", todo="")
