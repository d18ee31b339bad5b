"""Local emulators of gs and abfs: gcp-storage-emulator, and Azurite where it is installed.

`make azurite` installs it with npm; $AZURITE names its program unless it is on PATH.
"""

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from store_proxy import proxy

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published with Azurite


@dataclass
class CloudStore:
    """Its bucket is `data`; its environment variables must be set before it is accessed."""

    scheme: str
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which gcsfs or adlfs find the store."""
        return self.through(self.endpoint)

    def through(self, proxy: str) -> dict[str, str]:
        """Environment variables with which gcsfs or adlfs find a proxy in front of the store."""
        if self.scheme == "gs":  # and not the user's account
            return {"STORAGE_EMULATOR_HOST": proxy, "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": "/dev/null"}
        place = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={proxy}/{ACCOUNT};"
        return {"AZURE_STORAGE_CONNECTION_STRING": place}

    @property
    def files(self) -> Any:
        """The store as a file system without caches."""
        return importlib.import_module("fsspec").filesystem(self.scheme, skip_instance_cache=True, use_listings_cache=False)

    def names(self) -> dict[str, int]:
        """Sizes of all objects."""
        return {path.removeprefix("data/"): about["size"] for path, about in self.files.find("data", detail=True).items()}

    def read(self, name: str) -> bytes:
        content: bytes = self.files.cat_file(f"data/{name}")
        return content

    def put(self, name: str, content: bytes) -> None:
        self.files.pipe_file(f"data/{name}", content)

    def empty(self) -> None:
        files = self.files
        for name in files.find("data"):
            files.rm_file(name)


@contextmanager
def careless_gs_here() -> Iterator[str]:
    """The endpoint of a store that ignores the condition of uploads, as gcp-storage-emulator does."""
    pytest.importorskip("gcsfs")
    server = pytest.importorskip("gcp_storage_emulator.server").create_server(
        "127.0.0.1", 0, in_memory=True, default_bucket="data"
    )
    server.start()
    try:
        yield "http://{}:{}".format(*server._api._httpd.server_address)
    finally:
        server.stop()


@contextmanager
def gs_here() -> Iterator[CloudStore]:
    with careless_gs_here() as endpoint, proxy(endpoint) as (careful, _):
        yield CloudStore("gs", careful)


@contextmanager
def abfs_here() -> Iterator[CloudStore]:
    pytest.importorskip("adlfs")
    if not (program := os.environ.get("AZURITE") or shutil.which("azurite-blob")):
        pytest.skip("Azurite is not installed (make azurite)")
    command = [program, "--inMemoryPersistence", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = next(filter(None, (re.search(r"listens on (http://\S+)", line) for line in server.stdout)))
            store = CloudStore("abfs", found[1])
            clients = importlib.import_module("azure.storage.blob").BlobServiceClient
            with clients.from_connection_string(*store.environment.values()) as client:
                client.create_container("data")
            yield store
        finally:
            server.terminate()
            server.communicate()
