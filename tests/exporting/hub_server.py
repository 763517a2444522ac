"""A stand-in for the Hugging Face hub on this machine: a user, repositories, and commits.

Files are in the commits themselves, as small ones are on the hub; large ones it has by a storage service of its own.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_writes"
READER = "hf_reads"


class Hub:
    """What the stand-in knows, and was asked.

    Attributes:
        url: its address.
        repositories: by type and name; `private`, and the bytes of each file.
        requests: method and path of each.
        stores_apart: whether files have to go to the storage service, which is not there.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[str] = []
        self.stores_apart = False


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """Serve a hub while the block runs."""
    known = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": known}))
    known.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, _, kind, *name = self._path()
        if kind == "whoami-v2":
            return self._answer(200, {"name": "ada", "type": "user"})
        found = self.hub.repositories.get((kind, "/".join(name)))
        if found is None:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return self._answer(200, {"id": "/".join(name), "private": found["private"], "siblings": [], "tags": []})

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if path[1:] == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if path[-1] == "validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        _, _, kind, owner, name, verb, _ = path
        if verb == "preupload":
            files = json.loads(body)["files"]
            mode = "lfs" if self.hub.stores_apart else "regular"
            modes = [{"path": one["path"], "uploadMode": mode, "shouldIgnore": False} for one in files]
            return self._answer(200, {"files": modes})
        return self._commit(self.hub.repositories[kind, f"{owner}/{name}"]["files"], body, f"{owner}/{name}")

    def _create(self, asked: dict[str, Any]) -> None:
        if self.headers["Authorization"] == f"Bearer {READER}" or asked["organization"] == "others":
            return self._answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        name = f"{asked['organization'] or 'ada'}/{asked['name']}"
        key = (f"{asked.get('type') or 'model'}s", name)
        if key in self.hub.repositories:
            return self._answer(409, {"error": "You already created this repo", "url": f"{self.hub.url}/{name}"})
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.repositories[key] = {"private": private, "files": {}}
        prefix = "" if key[0] == "models" else "datasets/"
        return self._answer(200, {"url": f"{self.hub.url}/{prefix}{name}", "name": name, "id": name})

    def _commit(self, files: dict[str, bytes], body: bytes, name: str) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
        self._answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/1", "commitOid": "1", "pullRequestUrl": None})

    def _path(self) -> list[str]:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        return path.split("/")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        if self.headers.get("Authorization", "") not in (f"Bearer {TOKEN}", f"Bearer {READER}"):
            status, content = 401, {"error": "Invalid username or password."}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
