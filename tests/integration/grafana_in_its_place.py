"""What the tests pack as `bin/grafana`: no Grafana, but it wants from its command line and files what Grafana does.

It ends where something is missing. Else it says what it was given at `/api/...`, as Grafana would.
"""

import argparse
import configparser
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

VERSION = (Path(__file__).resolve().parent.parent / "VERSION").read_text().strip()


def _provisioned(folder: Path, kind: str) -> list[dict]:
    files = [yaml.safe_load(file.read_text()) for file in sorted((folder / kind).glob("*.yaml"))]
    assert files, f"nothing in {folder / kind}"
    assert all(file["apiVersion"] == 1 for file in files)
    return files


def _answers(config: configparser.ConfigParser) -> dict[str, dict]:
    password = config["security"]["admin_password"]
    assert password.startswith("$__file{"), password
    assert Path(password.removeprefix("$__file{").removesuffix("}")).read_text(), "no password"
    assert json.loads(Path(config["dashboards"]["default_home_dashboard_path"]).read_text())["uid"]
    folder = Path(config["paths"]["provisioning"])
    answers = {"/api/health": {"database": "ok", "version": VERSION}}
    for file in _provisioned(folder, "datasources"):
        answers |= {f"/api/datasources/uid/{source['uid']}": source for source in file["datasources"]}
    for file in _provisioned(folder, "dashboards"):
        for provider in file["providers"]:
            for dashboard in Path(provider["options"]["path"]).glob("*.json"):
                built = json.loads(dashboard.read_text())
                answers[f"/api/dashboards/uid/{built['uid']}"] = {"dashboard": built}
    return answers


def _serve(options: argparse.Namespace) -> None:
    assert (options.homepath / "conf" / "defaults.ini").is_file()
    assert (options.homepath / "public").is_dir()
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(options.config.read_text())
    answers = _answers(config)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found, default=str).encode())

    address = (config["server"]["http_addr"], config.getint("server", "http_port"))
    ThreadingHTTPServer(address, Handler).serve_forever()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["server"])
    parser.add_argument("--homepath", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(f"grafana version {VERSION}")
    else:
        _serve(_options())
