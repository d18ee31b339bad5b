"""Repositories of the Hugging Face Hub: commits, and translation of errors."""

import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_here import READ_ONLY, Hub

from motionshards.dataset.storage.hub import open_repository
from motionshards.schemas.errors import ConfigError, StoreFailed

NAME = "ada/data"


def test_commits_upload_and_delete_files(hub: Hub, tmp_path: Path) -> None:
    files = {name: tmp_path / str(number) for number, name in enumerate(("a.json", "x/a[1].tar", "x/a1.tar", "x/b.tar"))}
    for name, path in files.items():
        path.write_bytes(name.encode() * 50_000)
    with open_repository(NAME) as repository:
        assert repository.private() is None
        repository.create(private=False)
        assert repository.private() is False and repository.url == f"{hub.url}/datasets/{NAME}"
        repository.commit(files)
        on_hub = repository.files()
        assert set(on_hub) == {*files, ".gitattributes"}
        assert all(on_hub[name].has_content_of(path) for name, path in files.items())
        assert not on_hub["x/b.tar"].has_content_of(files["x/a1.tar"]), "different size"
        files["x/b.tar"].write_bytes(files["x/b.tar"].read_bytes()[::-1])
        files["a.json"].write_bytes(files["a.json"].read_bytes()[::-1])
        assert not on_hub["a.json"].has_content_of(files["a.json"]) and not on_hub["x/b.tar"].has_content_of(files["x/b.tar"])
        repository.commit({"a.json": files["a.json"]}, ["x/a[1].tar"])
        assert set(repository.files()) == {*files, ".gitattributes"} - {"x/a[1].tar"}
        repository.commit({}, ["x/b.tar"])
        repository.commit({})
        assert set(repository.files()) == {"a.json", "x/a1.tar", ".gitattributes"}
    assert hub.added == [sorted(files), ["a.json"], []]


@pytest.mark.parametrize(
    ("token", "error", "expected"),
    [
        ("", ConfigError, "no token for the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", ConfigError, "ada/data: Invalid user token. The token from HF_TOKEN environment variable is invalid."),
        (READ_ONLY, StoreFailed, "ada/data: 403 Forbidden: You don't have the rights to create a dataset"),
    ],
)
def test_tokens_that_cannot_write(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    error: type[Exception],
    expected: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(error) as caught, open_repository(NAME) as repository:
        repository.create(private=True)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value) and not hub.repositories


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("vox", "'vox' has no owner"), ("ada/vox/2", "Repo id must be in the form"), ("a/ b", "Repo id must")],
)
def test_invalid_repository_names(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected), open_repository(name) as repository:
        repository.private()


@pytest.mark.usefixtures("hub")
def test_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreFailed, match=r"^ada/data: \[Errno 111\] Connection refused$"), open_repository(NAME):
        pass


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with (
        pytest.raises(ConfigError, match="needs the package huggingface_hub: pip install"),
        open_repository(NAME),
    ):
        pass
