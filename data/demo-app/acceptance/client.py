"""How the acceptance tests talk to the tiers: as any HTTP client does, through HTTP_PROXY if that is set."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What a tier answered; a page that it redirects to counts as its answer."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Tier:
    """One tier, by its URL."""

    def __init__(self, name: str, url: str = "") -> None:
        self.name = name
        self.url = (url or os.environ.get(f"{name.upper()}_URL") or f"http://{name}:8080").rstrip("/")

    def get(self, path: str) -> Answer:
        return self._call(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> Answer:
        headers = {"Content-Type": "application/json"}
        return self._call(urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=headers))

    def send_form(self, path: str, fields: Mapping[str, str]) -> Answer:
        return self._call(urllib.request.Request(self.url + path, data=urllib.parse.urlencode(fields).encode()))

    def _call(self, call: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(call, timeout=TIMEOUT) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(errors="replace"))
