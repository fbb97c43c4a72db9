import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labkit.delivery.ci import CiConfig, pushed_branch, signature, signed
from labkit.errors import UsageError

COMMIT = "a" * 40
PUSH = {"ref": "refs/heads/main", "after": COMMIT, "repository": {"full_name": "lab/demo-app"}}
CONFIG = {
    "port": 17303,
    "gitea": "http://127.0.0.1:17300/",
    "organisation": "lab",
    "repo": "demo-app",
    "user": "ci-bot",
    "token": "t",
    "webhookSecret": "s",
    "registry": "127.0.0.1:17300",
    "images": ["frontend"],
    "workDir": "/somewhere",
}


def test_the_signature_is_a_known_hmac():
    """The key and data of RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", b"what do ya want for nothing?") == expected


@given(st.binary(), st.text())
def test_only_the_right_signature_passes(body, other):
    right = signature("secret", body)
    assert signed("secret", body, right)
    assert signed("secret", body, other) == (other == right)
    assert not signed("another", body, right)
    assert not signed("secret", body + b"x", right)


@pytest.mark.parametrize(
    ("change", "branch"),
    [
        ({}, "main"),
        ({"ref": "refs/heads/feature/blue"}, "feature/blue"),
        ({"ref": "refs/tags/v1"}, ""),
        ({"after": "0" * 40}, ""),
        ({"repository": {"full_name": "lab/gitops"}}, ""),
        ({"repository": None}, ""),
    ],
)
def test_which_branch_was_pushed(change, branch):
    assert pushed_branch(PUSH | change, "lab/demo-app") == branch


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)


@given(JSON | st.fixed_dictionaries({"ref": JSON, "after": JSON, "repository": JSON}))
def test_any_payload_is_a_push_or_nothing(payload):
    assert pushed_branch(payload, "lab/demo-app") == ""


def test_a_complete_configuration(tmp_path):
    file = tmp_path / "ci.yaml"
    warehouse = {
        "branches": "main",
        "kubeconfig": "/k",
        "context": "gitops-dev",
        "namespace": "demo-app",
        "warehouse": "demo-app",
    }
    file.write_text(yaml.safe_dump(CONFIG | {"afterBuild": [warehouse]}))
    config = CiConfig.load(file)
    assert config.gitea == "http://127.0.0.1:17300"
    assert config.after_build[0].warehouse == "demo-app"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no configuration"),
        ("[1]", "no configuration"),
        (yaml.safe_dump({**CONFIG, "port": "x"}), "no configuration"),
        (yaml.safe_dump({key: value for key, value in CONFIG.items() if key != "token"}), "no configuration"),
        (yaml.safe_dump({**CONFIG, "webHookSecret": "x"}), "unknown keys: webHookSecret"),
        (yaml.safe_dump({**CONFIG, "webhookSecret": ""}), "empty webhookSecret"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, text, named):
    file = tmp_path / "ci.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=named):
        CiConfig.load(file)
