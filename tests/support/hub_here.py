"""A stand-in for the Hugging Face Hub, for its own client: repositories in memory, large files in a local xet store.

It answers the client's requests like the Hub, including errors. Instead of a storage server, the client is pointed to a
directory, `local://…`, to which its transfer library hf_xet writes what it would send.
"""

import base64
import hashlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import huggingface_hub.constants
import pytest
from flask import Flask, Response, abort, request, send_file
from werkzeug.serving import make_server

TOKEN, READ_ONLY = "hf_good", "hf_read_only"
_BY_GIT_ONLY = (".json", ".md", ".gitattributes")
_HASH, _HAS_CHECKS, _HAS_SHA256 = 48, 1 << 31, 1 << 30


@dataclass(frozen=True)
class Blob:
    """A committed file: its content, or the SHA-256 by which the storage knows it."""

    size: int
    content: bytes | None = None
    sha256: str = ""

    @property
    def oid(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
        stored = pointer if self.content is None else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        large = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.content is None else {}
        return {"type": "file", "path": path, "size": self.size, "oid": self.oid, **large}


@dataclass
class Repository:
    """commits: the files of each, the newest last"""

    private: bool
    commits: list[dict[str, Blob]] = field(default_factory=lambda: [{".gitattributes": Blob(1, b"\n")}])

    @property
    def files(self) -> dict[str, Blob]:
        return self.commits[-1]

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    """The server and the requests that it received.

    environment: variables with which the library in other processes finds it and may write
    added: files added by each commit
    card_errors: errors of the next data card
    before_commit: called with the files of a commit before it takes effect; may raise or wait
    """

    store: Path
    environment: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    added: list[list[str]] = field(default_factory=list)
    card_errors: list[str] = field(default_factory=list)
    before_commit: Callable[[list[str]], object] = lambda paths: None
    _reading: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return self.environment["HF_ENDPOINT"]

    def stored(self) -> dict[str, tuple[str, int]]:
        """SHA-256 -> xet hash and size of each file in the storage, as its shards record."""
        found = {}
        for path in self.store.glob("xet/xorbs/shards/*.mdb"):
            shard, at = path.read_bytes(), _HASH
            while (name := shard[at : at + 32]) != b"\xff" * 32:
                flags, segments = (int.from_bytes(shard[at + start : at + start + 4], "little") for start in (32, 36))
                rows = [shard[at + _HASH * (1 + row) :][:_HASH] for row in range(segments)]
                size = sum(int.from_bytes(row[36:40], "little") for row in rows)
                at += _HASH * (1 + segments * (2 if flags & _HAS_CHECKS else 1))
                if flags & _HAS_SHA256:
                    found[_hex(shard[at : at + 32])] = _hex(name), size
                    at += _HASH
        return found

    def content(self, repository: str, path: str) -> bytes:
        blob = self.repositories[repository].files[path]
        if blob.content is not None:
            return blob.content
        import hf_xet  # after HF_HOME is set, because importing it opens a log there

        xet_hash, size = self.stored()[blob.sha256]
        with self._reading, tempfile.TemporaryDirectory() as place:
            group = hf_xet.XetSession().new_file_download_group(
                endpoint=f"local://{self.store}", token="x", token_expiry_unix_secs=int(time.time()) + 3600
            )
            group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(Path(place, "file")))
            group.wait_to_finish()
            return Path(place, "file").read_bytes()

    def commit(self, repository: Repository, lines: list[dict[str, Any]]) -> None:
        files, adds = dict(repository.files), []
        for line in lines:
            value = line["value"]
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                content = base64.b64decode(value["content"])
                files[value["path"]] = Blob(len(content), content)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.stored():
                    refuse(400, "LFS pointer pointed to a file that does not exist")
                files[value["path"]] = Blob(value["size"], None, value["oid"])
            if line["key"] in ("file", "lfsFile"):
                adds.append(value["path"])
        self.before_commit(adds)
        repository.commits.append(files)
        self.added.append(adds)


def _hex(stored: bytes) -> str:
    """xet writes hashes as four little-endian numbers of 64 bits."""
    return "".join(stored[at : at + 8][::-1].hex() for at in range(0, 32, 8))


def refuse(status: int, message: str, code: str = "") -> None:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    abort(Response(json.dumps({"error": message}), status, headers, content_type="application/json"))


@contextmanager
def hub_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A new Hub with its files in `place`, to which this process is logged in."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    hub = Hub(place / "xet")
    hub.store.mkdir()
    server = make_server("127.0.0.1", 0, _app(hub), threaded=True)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(place / "hf"),
        "TMPDIR": str(place),  # where a killed push leaves its links
    }
    for name, value in hub.environment.items():
        monkeypatch.setenv(name, value)
    # The library read the environment when it was imported.
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(place / "hf/token"))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _app(hub: Hub) -> Flask:
    app = Flask("hub")

    @app.before_request
    def authorize() -> None:
        hub.requests.append(f"{request.method} {request.path}")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, READ_ONLY):
            refuse(401, "Invalid credentials in Authorization header")
        if token == READ_ONLY and ("commit" in request.path or "create" in request.path):
            refuse(403, 'You don\'t have the rights to create a dataset under the namespace "ada"')

    def found(name: str) -> Repository:
        if name not in hub.repositories:
            refuse(404, "Repository not found", "RepoNotFound")
        return hub.repositories[name]

    @app.get("/api/whoami-v2")
    def whoami() -> Any:
        return {"type": "user", "name": "ada", "orgs": []}

    @app.post("/api/validate-yaml")
    def validate() -> Any:
        status = 400 if hub.card_errors else 200
        return {"errors": [{"message": error} for error in hub.card_errors], "warnings": []}, status

    @app.post("/api/repos/create")
    def create() -> Any:
        name = f"{request.json['organization']}/{request.json['name']}"
        if name in hub.repositories:
            refuse(409, "You already created this dataset repo")
        hub.repositories[name] = Repository(request.json["visibility"] == "private")
        return {"url": f"{hub.url}/datasets/{name}"}

    @app.get("/api/datasets/<owner>/<name>")
    def info(owner: str, name: str) -> Any:
        repository = found(f"{owner}/{name}")
        return {"id": f"{owner}/{name}", "sha": repository.sha, "private": repository.private, "tags": [], "downloads": 0}

    @app.get("/api/datasets/<owner>/<name>/tree/<revision>")
    @app.get("/api/datasets/<owner>/<name>/tree/<revision>/<folder>")
    def tree(owner: str, name: str, revision: str, folder: str = "") -> Any:
        files = found(f"{owner}/{name}").files
        return [blob.described(path) for path, blob in files.items() if path.startswith(folder)]

    @app.post("/api/datasets/<owner>/<name>/preupload/<revision>")
    def preupload(owner: str, name: str, revision: str) -> Any:
        files = found(f"{owner}/{name}").files
        return {"files": [_planned(each["path"], files) for each in request.json["files"]]}

    @app.get("/api/datasets/<owner>/<name>/xet-write-token/<revision>")
    def write_token(owner: str, name: str, revision: str) -> Any:
        return {"casUrl": f"local://{hub.store}", "accessToken": "x", "exp": int(time.time()) + 3600}

    @app.post("/api/datasets/<owner>/<name>/commit/<revision>")
    def commit(owner: str, name: str, revision: str) -> Any:
        repository = found(f"{owner}/{name}")
        hub.commit(repository, [json.loads(line) for line in request.data.splitlines()])
        return {"commitUrl": f"{hub.url}/datasets/{owner}/{name}/commit/{repository.sha}", "commitOid": repository.sha}

    @app.get("/datasets/<owner>/<name>/resolve/<revision>/<path:path>")
    def resolve(owner: str, name: str, revision: str, path: str) -> Any:
        if path not in found(f"{owner}/{name}").files:
            refuse(404, "Entry not found", "EntryNotFound")
        content = io.BytesIO(hub.content(f"{owner}/{name}", path))
        return send_file(content, "application/octet-stream", conditional=True, etag=False)

    return app


def _planned(path: str, files: dict[str, Blob]) -> dict[str, Any]:
    blob = files.get(path)
    known = {} if blob is None else {"oid": blob.oid if blob.content is not None else blob.sha256}
    mode = "regular" if path.endswith(_BY_GIT_ONLY) else "lfs"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, **known}
