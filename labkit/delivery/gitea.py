"""Gitea's API, for what the lab needs of it: people, organisation, repos, branch protection, pull requests.

Source: Gitea's REST API, https://docs.gitea.com/api/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from labkit.config import Lab
from labkit.errors import LabError
from labkit.passwords import password

ADMIN = "lab-admin"
CI = "ci-bot"
COMMITS_OF_A_PAGE = 50  # the most that Gitea gives at once: its [api] MAX_RESPONSE_ITEMS


class Gitea:
    """Gitea, seen as one account.

    Args:
        url: Its address, without a slash at the end.
        user: The account's name.
        password: The account's password or token.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self.user = user
        self._http = httpx.Client(base_url=f"{url}/api/v1", auth=(user, password), timeout=30, trust_env=False)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Call the API.

        Args:
            method: HTTP method.
            path: Path below `/api/v1`.
            body: JSON to send.
            query: Query parameters.

        Returns:
            The JSON that came back, or nothing.

        Raises:
            LabError: Gitea refused or does not answer; gives its own words.
        """
        answer = self._ask(method, path, body, query)
        if answer.is_error:
            raise self._refused(method, path, answer)
        return answer.json() if answer.content else None

    def find(self, path: str, **query: Any) -> Any:
        """GET a path; nothing where Gitea has no such thing."""
        answer = self._ask("GET", path, None, query)
        if answer.status_code == 404:
            return None
        if answer.is_error:
            raise self._refused("GET", path, answer)
        return answer.json()

    def signs_in(self) -> bool:
        """Whether Gitea has this account, with this password."""
        answer = self._ask("GET", "/user", None, {})
        if answer.status_code == 401:
            return False
        if answer.is_error:
            raise self._refused("GET", "/user", answer)
        return True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, query: dict[str, Any]) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body, params=query)
        except httpx.HTTPError as error:
            raise LabError(
                f"Gitea at {self.url} does not answer",
                seen=str(error),
                todo="`labkit status`, then `labkit up`",
            ) from error

    def _refused(self, method: str, path: str, answer: httpx.Response) -> LabError:
        return LabError(f"Gitea refused {self.user}'s {method} {path} ({answer.status_code})", seen=_words(answer))

    def ensure_user(self, name: str, password: str, about: str) -> None:
        """An account that can sign in."""
        if self.find(f"/users/{name}"):
            return
        self.request(
            "POST",
            "/admin/users",
            {
                "username": name,
                "password": password,
                "email": f"{name}@lab.invalid",
                "full_name": about,
                "must_change_password": False,
            },
        )

    def ensure_organisation(self, name: str) -> None:
        """The organisation that owns the lab's repos and images."""
        if not self.find(f"/orgs/{name}"):
            self.request("POST", "/orgs", {"username": name, "visibility": "public"})

    def ensure_team(
        self,
        organisation: str,
        name: str,
        permission: str,
        units: Mapping[str, str],
        members: tuple[str, ...],
    ) -> None:
        """A team of the organisation with these rights on all its repos."""
        teams = self.request("GET", f"/orgs/{organisation}/teams")
        team = next((team for team in teams if team["name"] == name), None)
        if team is None:
            team = self.request(
                "POST",
                f"/orgs/{organisation}/teams",
                {
                    "name": name,
                    "permission": permission,
                    "units_map": dict(units),
                    "includes_all_repositories": True,
                },
            )
        for member in members:
            self.request("PUT", f"/teams/{team['id']}/members/{member}")

    def ensure_repo(self, organisation: str, name: str, about: str) -> None:
        """An empty repo of the organisation."""
        if not self.find(f"/repos/{organisation}/{name}"):
            self.request(
                "POST",
                f"/orgs/{organisation}/repos",
                {"name": name, "description": about, "default_branch": "main", "auto_init": False},
            )

    def ensure_branch_protection(self, repo: str, rule: str, settings: Mapping[str, Any]) -> None:
        """Protect the branches that a rule matches.

        Args:
            repo: `organisation/name`.
            rule: Branch name or glob.
            settings: Fields of Gitea's CreateBranchProtectionOption.
        """
        existing = self.request("GET", f"/repos/{repo}/branch_protections")
        if any(item["rule_name"] == rule for item in existing):
            self.request("PATCH", f"/repos/{repo}/branch_protections/{rule.replace('/', '%2F')}", settings)
        else:
            self.request("POST", f"/repos/{repo}/branch_protections", {"rule_name": rule, **settings})

    def ensure_webhook(self, repo: str, url: str, secret: str, events: tuple[str, ...]) -> None:
        """Tell this address of events in a repo."""
        hooks = self.request("GET", f"/repos/{repo}/hooks")
        if not any(hook["config"].get("url") == url for hook in hooks):
            self.request(
                "POST",
                f"/repos/{repo}/hooks",
                {
                    "type": "gitea",
                    "active": True,
                    "events": list(events),
                    "config": {"url": url, "content_type": "json", "secret": secret},
                },
            )

    def make_token(self, name: str, scopes: tuple[str, ...]) -> str:
        """A new token of this account; an older one of the same name is replaced."""
        path = f"/users/{self.user}/tokens"
        if any(token["name"] == name for token in self.request("GET", path)):
            self.request("DELETE", f"{path}/{name}")
        token = self.request("POST", path, {"name": name, "scopes": list(scopes)})
        return str(token["sha1"])

    def branch_commit(self, repo: str, branch: str) -> str:
        """The commit at the head of a branch; empty where there is no such branch."""
        found = self.find(f"/repos/{repo}/branches/{branch.replace('/', '%2F')}")
        return str(found["commit"]["id"]) if found else ""

    def commits(self, repo: str, revision: str, *, page: int = 1) -> list[dict[str, Any]]:
        """A page (`COMMITS_OF_A_PAGE`) of the history of a branch or commit, newest first; none where there is none."""
        switched_off = {"stat": False, "verification": False, "files": False}
        path = f"/repos/{repo}/commits"
        return self.find(path, sha=revision, limit=COMMITS_OF_A_PAGE, page=page, **switched_off) or []

    def commit_statuses(self, repo: str, commit: str) -> dict[str, str]:
        """The newest state of each status of a commit, by its context, such as `{"ci/build": "success"}`."""
        combined = self.request("GET", f"/repos/{repo}/commits/{commit}/status")
        return {status["context"]: status["status"] for status in combined["statuses"] or []}

    def all_statuses(self, repo: str, commit: str) -> list[dict[str, Any]]:
        """Everything that was ever said of a commit, newest first."""
        found: list[dict[str, Any]] = self.request(
            "GET", f"/repos/{repo}/commits/{commit}/statuses", sort="recentupdate"
        )
        return found

    def pull_requests(self, repo: str, state: str = "open") -> list[dict[str, Any]]:
        """The pull requests of a repo, newest first."""
        found: list[dict[str, Any]] = self.request("GET", f"/repos/{repo}/pulls", state=state, sort="newest")
        return found

    def merge(self, repo: str, number: int) -> None:
        """Merge a pull request with a merge commit."""
        self.request("POST", f"/repos/{repo}/pulls/{number}/merge", {"Do": "merge"})

    def review(self, repo: str, number: int, verdict: str, words: str) -> None:
        """Review a pull request: `APPROVED`, `REQUEST_CHANGES` or `COMMENT`."""
        self.request("POST", f"/repos/{repo}/pulls/{number}/reviews", {"event": verdict, "body": words})

    def set_commit_status(self, repo: str, commit: str, context: str, state: str, words: str, url: str = "") -> None:
        """Set a status of a commit: `success`, `pending`, `failure` or `error`, and one line why."""
        status = {"context": context, "state": state, "description": words, "target_url": url}
        self.request("POST", f"/repos/{repo}/statuses/{commit}", status)

    def pull_request_diff(self, repo: str, number: int) -> str:
        """What a pull request changes, as a unified diff."""
        path = f"/repos/{repo}/pulls/{number}.diff"
        answer = self._ask("GET", path, None, {})
        if answer.is_error:
            raise self._refused("GET", path, answer)
        return answer.text


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def gitea_as(lab: Lab, name: str) -> Gitea:
    """Gitea, seen as one of the lab's people or robots."""
    return Gitea(lab.gitea_url, name, password(lab, name))


def gitea_token(lab: Lab, name: str) -> str:
    """A token of an account, for programs: made once, kept in `$LABKIT_HOME/secrets`."""
    scopes = ("write:repository", "write:package", "read:organization", "read:user")
    return password(lab, f"{name}-token", lambda: gitea_as(lab, name).make_token("labkit", scopes))
