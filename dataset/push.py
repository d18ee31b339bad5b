"""Publish a finished dataset as a dataset repository of the Hugging Face Hub.

    motionshards push OUT user/name [--public]

Prints the corpus's licence first. Uploads only files of the dataset, shards before tables and dataset.json, and deletes from the
repository what the dataset no longer has, such as shards of removed identities. Run it again to upload only what is missing.

Exit status: 0 the repository matches the dataset, 1 the Hub failed, 2 invalid arguments or dataset, 130 interrupted.
"""

if __name__ == "__main__":
    from motionshards.cli import run_module

    run_module()

import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from motionshards.dataset.commandline import LocalDatasetArgument, OutputOptions, command, show
from motionshards.dataset.index import Dataset
from motionshards.dataset.storage.hub import HubFile, HubRepository, open_repository
from motionshards.dataset.verify import verify
from motionshards.pipeline.card.sources import Corpus, corpus_of
from motionshards.schemas.errors import ConfigError, DatasetError, StoreFailed
from motionshards.schemas.layout import (
    CARD,
    CROISSANT,
    DATASET_JSON,
    INDEX,
    PEOPLE,
    PLAN_DIR,
    REJECTIONS,
    SPLITS,
    marker_path,
    tar_path,
)

_DESCRIPTIONS = (DATASET_JSON, INDEX, REJECTIONS, CARD, CROISSANT)
_NUMBERED = re.compile(rf"({'|'.join((PLAN_DIR, *SPLITS))})/[^/]+\.(tar|parquet)")
_OF_A_NEW_REPOSITORY = (".gitattributes", ".gitignore", "LICENSE")


@dataclass(frozen=True, kw_only=True)
class _Places(LocalDatasetArgument):
    """Source and target of a push, as positional arguments."""

    repository: str = field(kw_only=False)
    """The dataset repository, `user/name` or `organization/name`; created if it does not exist."""


@dataclass(frozen=True, kw_only=True)
class PushOptions(OutputOptions, _Places):
    """Options of `motionshards push`."""

    public: bool = False
    """Create a public repository, or push to an existing public one; by default, a private one."""
    rights_confirmed: bool = False
    """Confirm that you may publish these videos; required with --public for all sources except `demo`."""
    with_identity_embeddings: bool = False
    """Also push face descriptors, which are biometric data, and people.parquet; required if the dataset has descriptors."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push: numbers of files, and `bytes` uploaded."""

    url: str
    private: bool
    uploaded: int
    bytes: int
    unchanged: int
    deleted: int

    def __str__(self) -> str:
        done = f"uploaded {self.uploaded} files ({self.bytes / 1e6:.1f} MB), {self.unchanged} unchanged, deleted {self.deleted}"
        return f"{done}: {self.url} ({'private' if self.private else 'public'})"


@command("push", after=lambda options: "The same command resumes")
def main(options: PushOptions) -> None:
    """Push a finished dataset to the Hugging Face Hub: private unless --public, resumable, after printing its licence."""
    options.print_result(push(options, lambda line: show(line, sys.stderr)))


def push(options: PushOptions, log: Callable[[str], object] = lambda line: None) -> Pushed:
    """Make the dataset in the repository identical to this one; other files of the repository are left alone.

    log: called with the licence before anything is uploaded, and with what remains for the user to do

    Raises:
        ConfigError: the arguments, the token, or the visibility or content of the repository do not permit the push
        DatasetError: the dataset is unfinished or has faults
        StoreFailed: the Hub failed or refused, or its content differs after the push
    """
    data = Dataset.open(options.data)
    corpus = corpus_of(data.manifest.config.source)
    log(_terms(corpus))
    if options.public and corpus.real and not options.rights_confirmed:
        raise ConfigError("--public publishes videos of real people: add --rights-confirmed if you have the right to do so")
    if data.manifest.config.identity_embedding and not options.with_identity_embeddings:
        raise ConfigError(
            f"the shards contain face descriptors, which are biometric data: add --with-identity-embeddings, or delete them with "
            f"motionshards build --output {options.data} --drop identity"
        )
    with open_repository(options.repository, progress=not options.quiet) as hub:
        private = hub.private()
        _check_visibility(hub.name, private, options.public)
        files = _checked_files(data, _DESCRIPTIONS + (PEOPLE,) * options.with_identity_embeddings)
        if private is None:
            hub.create(private=not options.public)
        before = hub.files()
        _refuse_strangers(hub.name, before, files)
        pushed = _synchronize(hub, before, files, private=not options.public)
    if (data.manifest.removals or _dropped_identities(data)) and pushed.uploaded and files.keys() & before.keys():
        log(f"earlier commits of {hub.name} may still contain removed data: docs/publishing.md explains how to erase them")
    return pushed


def _dropped_identities(data: Dataset) -> bool:
    return any(addition.what == "no-identity" for addition in data.manifest.additions)


def _terms(corpus: Corpus) -> str:
    link = f", {corpus.licence_link}" if corpus.licence_link else ""
    return f"{corpus.title}. Licence: {corpus.licence_name or corpus.licence}{link}\n{corpus.rights}"


def _check_visibility(name: str, private: bool | None, public: bool) -> None:
    """Raises ConfigError: the repository's visibility is not the requested one. private: None if it does not exist."""
    if private and public:
        raise ConfigError(f"{name} is private: push without --public, or make it public in its settings first")
    if private is False and not public:
        raise ConfigError(f"{name} is public: push with --public, or make it private in its settings first")


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the dataset.

    name: its path in the dataset and in the repository
    sha256: its digest as dataset.json records it; None if it must be computed
    """

    name: str
    path: Path
    sha256: str | None = None

    def is_in(self, on_hub: Mapping[str, HubFile]) -> bool:
        """Whether the Hub has this file with the same content."""
        return self.name in on_hub and on_hub[self.name].has_content_of(self.path, self.sha256)


def _checked_files(data: Dataset, descriptions: Iterable[str]) -> dict[str, _File]:
    """The files of the dataset by name, verified except for the bytes of tars, which the Hub hashes on upload.

    Raises:
        DatasetError: a file is missing or damaged
    """
    out, shards = data.out, data.manifest.shards
    if faults := verify(out, fast=True, only=frozenset()).faults:
        raise DatasetError(f"{out} has faults, run `motionshards verify {out}`; the first of {len(faults)}: {faults[0]}")
    tars = [(tar_path(out, entry.split, entry.name), entry) for entry in shards if entry.sha256]
    for path, entry in tars:
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise DatasetError(f"{path} is missing or does not have {entry.bytes} bytes, run `motionshards verify {out}`")
    digests = {path: entry.sha256 for path, entry in tars}
    paths = [*digests, *(marker_path(out, entry.split, entry.name) for entry in shards), *(out / PLAN_DIR).glob("plan-*.parquet")]
    paths += [out / name for name in descriptions if (out / name).is_file()]
    files = [_File(path.relative_to(out).as_posix(), path, digests.get(path)) for path in paths]
    return {file.name: file for file in files}


def _refuse_strangers(name: str, on_hub: Iterable[str], files: Container[str]) -> None:
    """Raises ConfigError: the repository contains something other than a dataset or an interrupted push of this one."""
    if DATASET_JSON in on_hub or INDEX in on_hub:
        return
    for path in sorted(set(on_hub) - {CARD, *_OF_A_NEW_REPOSITORY}):
        if PurePosixPath(path).with_suffix(".parquet").as_posix() not in files:  # a removal deletes tars, never their markers
            raise ConfigError(f"{name} is not empty and contains no dataset (found {path!r}). Use another repository")


def _synchronize(hub: HubRepository, before: Mapping[str, HubFile], files: Mapping[str, _File], *, private: bool) -> Pushed:
    """Upload what differs and delete what is missing here. Raises StoreFailed: the Hub's content differs afterwards."""
    changed = {name: file for name, file in files.items() if not file.is_in(before)}
    deleted = [name for name in before if (_NUMBERED.fullmatch(name) or name == PEOPLE) and name not in files]
    shards = {name: file for name, file in changed.items() if _NUMBERED.fullmatch(name)}
    # A dataset.json in the repository always lists files that exist: it is uploaded last, with the tables, and the old one is
    # deleted together with the first replaced shard.
    outdated = {DATASET_JSON} & before.keys() if shards.keys() & before.keys() else set()
    last = {name: files[name] for name in files if name not in shards and (name in changed or name in outdated)}
    _commit(hub, shards, outdated)
    _commit(hub, last, deleted)
    sent = [*shards.values(), *last.values()]
    size = sum(file.path.stat().st_size for file in sent)
    return Pushed(hub.url, private, len(sent), size, len(files) - len(sent), len(deleted))


def _commit(hub: HubRepository, files: Mapping[str, _File], deleted: Iterable[str]) -> None:
    """Upload and delete, then compare the Hub's digests with those of dataset.json. Raises StoreFailed."""
    hub.commit({name: file.path for name, file in files.items()}, deleted)
    on_hub = hub.files() if files else {}
    if wrong := sorted(name for name, file in files.items() if not file.is_in(on_hub)):
        raise StoreFailed(
            f"{hub.name}: {len(wrong)} uploaded files do not match dataset.json, first {wrong[0]}: they are damaged on "
            "this disk, or changed during the upload. Run `motionshards verify`, then push again"
        )
