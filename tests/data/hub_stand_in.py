"""A small Hugging Face Hub on this machine: what its client asks for when data sets are fetched."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class HubStandIn:
    """Data sets by name: `{path: bytes}`. Those in `gated` are closed; `asked` lists the calls."""

    def __init__(self, datasets, gated=()):
        self.datasets, self.gated, self.asked = datasets, gated, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        url = urlsplit(request.path)
        path, query = unquote(url.path), parse_qs(url.query)
        self.asked.append(f"{request.command} {path}")
        status, body, headers = self._found(path, query)
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def _found(self, path, query):
        if path == "/api/datasets":
            return _json([{"id": name} for name in self.datasets if query["search"][0] in name])
        kind = "api" if path.startswith("/api/datasets/") else "resolve"
        rest = path.removeprefix("/api").removeprefix("/datasets/")
        name, rest = "/".join(rest.split("/")[:2]), rest.split("/")[2:]
        if name in self.gated:
            return _error(403, "GatedRepo")
        if name not in self.datasets:
            return _error(404, "RepoNotFound")
        files = self.datasets[name]
        if kind == "api" and rest[0] == "refs":
            return _json({"branches": [_ref("main")], "tags": [_ref("v1.0")], "converts": []})
        if rest[1] not in ("main", "v1.0", COMMIT):
            return _error(404, "RevisionNotFound")
        if kind == "api" and rest[0] == "revision":
            return _json({"id": name, "sha": COMMIT})
        if kind == "api":
            return _json(
                [{"type": "file", "path": p, "size": len(b), "oid": _oid(b)} for p, b in files.items()]
            )
        content = files.get("/".join(rest[2:]))
        if content is None:
            return _error(404, "EntryNotFound")
        return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_oid(content)}"'}


def _ref(name):
    return {"name": name, "ref": f"refs/heads/{name}", "targetCommit": COMMIT}


def _entry(path, content):
    return {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}


def _oid(content):
    return hashlib.sha1(content).hexdigest()


def _json(value):
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _error(status, code):
    return status, b"", {"X-Error-Code": code, "X-Error-Message": code}
