"""A small Hugging Face Hub on this machine that models can be pushed to, as its own client does it."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "5eed" + "0" * 36
Reply = tuple[int, Any]


class HubStandIn:
    """Takes one token; `repos` holds what arrived, `headers` every request's.

    Attributes:
        fail: path part -> (status, message): answers to requests whose path holds that part.
    """

    def __init__(self, token: str = "hf_right") -> None:
        self.token = token
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.fail: dict[str, tuple[int, str]] = {}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_POST = do_PUT = do_HEAD = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.asked.append(f"{request.command} {path}")
        self.headers.append(dict(request.headers))
        status, found, code = self._found(request, path, body)
        content = json.dumps(found).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        if code:
            request.send_header("X-Error-Message", code)
        request.end_headers()
        request.wfile.write(content)

    def _found(self, request: BaseHTTPRequestHandler, path: str, body: bytes) -> tuple[int, Any, str]:
        for part, (status, message) in self.fail.items():
            if part in path:
                return status, {"error": message}, message
        if (
            not path.startswith("/objects/")
            and request.headers.get("Authorization") != f"Bearer {self.token}"
        ):
            message = "Invalid credentials in Authorization header"
            return 401, {"error": message}, message
        return (*self._answer(path, body), "")

    def _answer(self, path: str, body: bytes) -> Reply:
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/objects/"):
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {
                "transfer": "basic",
                "objects": [self._upload(one) for one in json.loads(body)["objects"]],
            }
        if path.removeprefix("/api/models/").count("/") == 1:
            repo = path.removeprefix("/api/models/")
            return (200, {"id": repo}) if repo in self.repos else (404, {"error": "Repository not found"})
        *_, owner, name, what, revision = path.removeprefix("/api/models/").split("/")
        assert revision == "main"
        repo = f"{owner}/{name}"
        match what:
            case "tree":
                return 200, [
                    {"type": "file", "path": key, "size": len(one), "oid": "0" * 40}
                    for key, one in self.repos[repo].items()
                ]
            case "preupload":
                files = json.loads(body)["files"]
                return 200, {
                    "files": [
                        {
                            "path": one["path"],
                            "shouldIgnore": False,
                            "oid": None,
                            "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                        }
                        for one in files
                    ]
                }
            case "commit":
                return self._commit(repo, [json.loads(line) for line in body.splitlines()])
        return 404, {"error": "no such address"}

    def _create(self, asked: dict[str, Any]) -> Reply:
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{repo}"}
        self.repos[repo] = {}
        self.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True
        return 200, {"url": f"{self.url}/{repo}", "id": repo}

    def _upload(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> Reply:
        files = self.repos[repo]
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.messages.append(value["summary"])
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    content = self.objects[value["oid"]]
                    assert hashlib.sha256(content).hexdigest() == value["oid"]
                    files[value["path"]] = content
                case "deletedFile":
                    del files[value["path"]]
        return 200, {"commitUrl": f"{self.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}
