"""croissant.json: MLCommons Croissant 1.1 metadata, so that generic tools can read the dataset.

Distribution: both tables and every shard with its sha256, one file set per split, and one file set per kind of member. With more
than `LISTED` shards only the file sets are listed, since readers take a minute to open thousands of shards; their sha256 are
also in dataset.json. Record sets: `splits`, `clips` and `rejections` with the columns of the tables, and one per kind of
member, with `key` identifying the clip.

It omits what a build cannot know: where, by whom and when the dataset will be published. The bytes therefore depend only on the
dataset. `url` is the page of the corpus, absent if there is none.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from motionshards.pipeline.card.fields import (
    INDEX_COLUMNS,
    PARTS,
    REJECTION_COLUMNS,
    STILLS,
    content,
    members,
    sizes,
    sound_rate,
    video_rate,
)
from motionshards.pipeline.card.figures import Figures, read_figures, without_absent_audio
from motionshards.pipeline.card.front import language, tags
from motionshards.pipeline.card.people import MISUSE, REMOVAL, bias, personal
from motionshards.pipeline.card.sources import Corpus, corpus_of
from motionshards.schemas.config import BuildConfig
from motionshards.schemas.layout import INDEX, META, REJECTIONS, SOUND, VIDEO, VIDEO_FRAMES, tar_path
from motionshards.schemas.manifest import FORMAT_VERSION, Manifest, ShardEntry
from motionshards.schemas.tables import INDEX as INDEX_SCHEMA
from motionshards.schemas.tables import REJECTIONS as REJECTIONS_SCHEMA

Node = dict[str, Any]

CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]

_OURS = [
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key"),
    *("md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "separator", "source", "subField", "transform"),
]
CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{name: f"cr:{name}" for name in _OURS},
}
_TYPES = {
    pa.string(): "sc:Text",
    pa.bool_(): "sc:Boolean",
    pa.int32(): "cr:Int32",
    pa.int64(): "cr:Int64",
    pa.uint32(): "cr:UInt32",
    pa.float32(): "cr:Float32",
    pa.float64(): "cr:Float64",
}
# Croissant's identifiers for standard splits; other splits only have a name.
_PURPOSES = {"train": "cr:TrainingSplit", "test": "cr:TestSplit", "val": "cr:ValidationSplit"}
# The reference reader unpacks all listed shards, so opening takes longer the more there are.
LISTED = 500
_JPEG, _NPY = "image/jpeg", "application/octet-stream"
_ENCODINGS = {STILLS: _JPEG, VIDEO: "video/mp4", SOUND: "audio/flac", META: "application/json"}
_OBJECTS = {_JPEG: "sc:ImageObject", "video/mp4": "sc:VideoObject", "audio/flac": "sc:AudioObject"}
_OF_A_SIZE = (_JPEG, "video/mp4")
# Names of kinds of members; for all others, the suffix without its extension.
_NAMES = {STILLS: "frames", VIDEO: "video", SOUND: "sound", VIDEO_FRAMES: "video_frames"}


def croissant(manifest: Manifest, out: Path) -> str:
    """The content of croissant.json of a finished dataset; `out` contains its tables, and the manifest their digests."""
    corpus, figures = corpus_of(manifest.config.source), read_figures(out)
    manifest = without_absent_audio(manifest)
    tables = {name: ((out / name).stat().st_size, manifest.files[name]) for name in (INDEX, REJECTIONS)}
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        **_about(manifest, corpus),
        "version": f"{FORMAT_VERSION}.0.0+{tables[INDEX][1][:12]}",  # format version, and digest of the index
        **_responsible(manifest, corpus, figures),
        "distribution": [*_tables(tables), *_shards(manifest), *_member_sets(manifest)],
        "recordSet": [*_splits(figures), *_table_records(figures), *_member_records(manifest)],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _about(manifest: Manifest, corpus: Corpus) -> Node:
    counts, config = manifest.counts, manifest.config
    about = {
        "name": corpus.title,
        "description": f"{counts['kept']} clips of {content(config)} at {sizes(config)} in WebDataset "
        f"shards, with time, position and quality of each frame. {corpus.collection} {corpus.rights}",
        "license": corpus.licence_link or corpus.rights,
        "url": corpus.home,
        "isBasedOn": corpus.home,
        "citeAs": corpus.citation,
        "inLanguage": language(config),
        "keywords": tags(corpus, config),
    }
    return {name: value for name, value in about.items() if value}


def _responsible(manifest: Manifest, corpus: Corpus, figures: Figures) -> Node:
    """The properties of the Croissant RAI (responsible AI) vocabulary that are known."""
    counts, config = manifest.counts, manifest.config
    rejected = ", ".join(f"{reason} {count}" for reason, count in counts["rejected"].items())
    tools = [f"{name} {version}" for name, version in manifest.provenance.items()]
    return {
        "rai:dataCollection": corpus.collection,
        "rai:dataCollectionMissingData": f"{counts['planned']} clips planned, {counts['kept']} kept; rejected: {rejected or 0}",
        "rai:dataPreprocessingProtocol": list(_preprocessing(config)),
        "rai:machineAnnotationTools": tools,
        "rai:dataBiases": bias(figures),
        "rai:dataUseCases": ["training and testing models that animate images of faces or bodies"],
        "rai:dataSocialImpact": MISUSE,
        "rai:personalSensitiveInformation": personal(corpus, config),
        "rai:dataReleaseMaintenancePlan": REMOVAL,
    }


def _preprocessing(config: BuildConfig) -> Iterator[str]:
    if config.stores_stills:
        yield f"{config.frames} frames of each clip, sampled by a permutation seeded by its key"
    yield f"crop: recipe {config.recipe}, fit {config.fit}, {sizes(config)}"
    if config.stores_stills:
        yield f"JPEG of quality {config.jpeg_quality}, 4:2:0"
    if config.stores_video:
        yield f"H.264 of {video_rate(config)}: each frame shows the source frame nearest in time"
    if config.stores_audio:
        yield f"FLAC of {sound_rate(config)}, cut to the span of the video"


def _tables(tables: Mapping[str, tuple[int, str]]) -> Iterator[Node]:
    what = {INDEX: "One row per kept clip.", REJECTIONS: "One row per clip that was planned but not kept."}
    for name, (size, sha256) in tables.items():
        yield _file(name, what[name], "application/x-parquet", size, sha256)


def _file(path: str, description: str, encoding: str, size: int, sha256: str | None) -> Node:
    described = {"@type": "cr:FileObject", "@id": path, "name": path, "description": description}
    return {**described, "contentUrl": path, "contentSize": f"{size} B", "encodingFormat": encoding, "sha256": sha256}


def _filled(manifest: Manifest) -> list[ShardEntry]:
    """Shards that have a tar."""
    return [entry for entry in manifest.shards if entry.sha256 is not None]


def _path(entry: ShardEntry) -> str:
    return tar_path(Path(), entry.split, entry.name).as_posix()


def _shards(manifest: Manifest) -> Iterator[Node]:
    filled = _filled(manifest)
    for split in _split_names(filled):
        described = {"name": f"shards of {split}", "description": f"WebDataset tars of the split {split}."}
        formats = {"encodingFormat": "application/x-tar", "includes": f"{split}/*.tar"}
        yield {"@type": "cr:FileSet", "@id": f"shards-{split}", **described, **formats}
    for entry in filled if len(filled) <= LISTED else ():
        yield _file(_path(entry), f"{entry.clips} clips of {entry.split}.", "application/x-tar", entry.bytes, entry.sha256)


def _split_names(entries: list[ShardEntry]) -> list[str]:
    return sorted({entry.split for entry in entries})


def _member_sets(manifest: Manifest) -> Iterator[Node]:
    """One file set per kind of member. It lists single tars if possible, since readers cannot unpack sets of archives yet."""
    filled = _filled(manifest)
    sets = [f"shards-{split}" for split in _split_names(filled)]
    inside = [{"@id": name} for name in (map(_path, filled) if len(filled) <= LISTED else sets)]
    for name, (suffix, encoding, what) in _members(manifest.config).items() if inside else ():
        described = {"@type": "cr:FileSet", "@id": f"{name}-files", "name": f"{name} files", "description": what}
        smaller = manifest.config.smaller_sizes if encoding in _OF_A_SIZE and not suffix[0].isdecimal() else ()
        includes = [f"**/{glob}.{suffix}" for glob in _not_ending([f".{size_px}" for size_px in smaller])]
        files = {"encodingFormat": encoding, "includes": includes[0] if len(includes) == 1 else includes}
        yield {**described, "containedIn": inside, **files}


def _not_ending(words: list[str]) -> list[str]:
    """Globs that together match exactly the names that end with none of `words`. No word may be a suffix of another.

    They replace `excludes`, which the reference reader ignores.
    """
    globs = []
    for tail in sorted({word[start:] for word in words for start in range(1, len(word) + 1)}):
        before = {word[-len(tail) - 1] for word in words if word.endswith(tail)}
        globs.append(f"*[!{''.join(sorted(before))}]{tail}")
    return globs or ["*"]


def _members(config: BuildConfig) -> dict[str, tuple[str, str, str]]:
    """Kind of member -> glob of its suffix, encoding and description."""
    found = {}
    for suffix, what in members(config).items():
        size, _, main = suffix.partition(".") if suffix[0].isdecimal() else ("", "", suffix)
        name = _NAMES.get(main, main.partition(".")[0]) + (f"_{size}" if size else "")
        found[name] = (suffix.replace("NNN", 3 * "[0-9]"), _ENCODINGS.get(main, _NPY), what)
    return found


def _splits(figures: Figures) -> Iterator[Node]:
    if not figures.splits:
        return
    fields = [_field("splits/name", "Name of the split.", "sc:Text"), _field("splits/url", "Purpose of the split.", "sc:URL")]
    fields.append(_field("splits/clips", "Number of clips.", "sc:Integer"))
    rows = [
        {"splits/name": split, "splits/url": _PURPOSES.get(split, ""), "splits/clips": size.clips}
        for split, size in figures.splits.items()
    ]
    yield {**_record_set("splits", "The splits.", "splits/name", fields), "dataType": "cr:Split", "data": rows}


def _table_records(figures: Figures) -> Iterator[Node]:
    clips = [_column("clips", INDEX, column, INDEX_COLUMNS[column.name]) for column in INDEX_SCHEMA]
    if figures.splits:  # otherwise the referenced record set does not exist
        clips[INDEX_SCHEMA.names.index("split")]["references"] = {"field": {"@id": "splits/name"}}
    yield _record_set("clips", "Kept clips, one row each.", "clips/key", clips)
    rejected = [_column("rejections", REJECTIONS, column, REJECTION_COLUMNS[column.name]) for column in REJECTIONS_SCHEMA]
    yield _record_set("rejections", "Clips that were planned but not kept, with the reason.", "rejections/key", rejected)


def _member_records(manifest: Manifest) -> Iterator[Node]:
    for name, (suffix, encoding, what) in _members(manifest.config).items() if _filled(manifest) else ():
        files = f"{name}-files"
        key = _field(f"{name}/key", "The clip, as in clips/key.", "sc:Text")
        key["source"] = _from_path(files, rf"^(.+)\.{suffix.replace('.', chr(92) + '.')}$")
        content = _field(f"{name}/content", what, _OBJECTS.get(encoding, "sc:Text"))
        content["source"] = {"fileSet": {"@id": files}, "extract": {"fileProperty": "content"}}
        fields, unique = [key, content], [f"{name}/key"]
        if encoding == _JPEG:
            number = _field(f"{name}/number", "Number of the frame in its clip, from 000.", "sc:Text")
            number["source"] = _from_path(files, r"^.+\.([0-9]{3})\.jpg$", "filename")
            fields, unique = [key, number, content], [f"{name}/key", f"{name}/number"]
        yield _record_set(name, f"Files of the shards: {what}", unique, fields)


def _from_path(files: str, regex: str, of: str = "fullpath") -> Node:
    """Source of a field that is extracted from the name of a member."""
    return {"fileSet": {"@id": files}, "extract": {"fileProperty": of}, "transform": {"regex": regex}}


def _record_set(name: str, description: str, key: str | list[str], fields: list[Node]) -> Node:
    unique: Any = {"@id": key} if isinstance(key, str) else [{"@id": each} for each in key]
    described = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description}
    return {**described, "key": unique, "field": fields}


def _field(name: str, description: str, data_type: str | None) -> Node:
    described = {"@type": "cr:Field", "@id": name, "name": name, "description": description}
    return {**described, "dataType": data_type} if data_type else described


def _column(records: str, table: str, column: pa.Field, description: str) -> Node:
    """The field of a table column; for a list of structs, with a subfield per part that is a scalar or list of scalars."""
    source = {"fileObject": {"@id": table}, "extract": {"column": column.name}}
    kind, name = column.type, f"{records}/{column.name}"
    if not pa.types.is_list(kind):
        return {**_field(name, description, _TYPES[kind]), "source": source}
    many = {"isArray": True, "arrayShape": "-1"}
    if not pa.types.is_struct(kind.value_type):
        return {**_field(name, description, _TYPES[kind.value_type]), **many, "source": source}
    parts = [_part(name, source, part) for part in kind.value_type if part.name in PARTS]
    return {**_field(name, description, None), **many, "subField": parts}


def _part(parent: str, source: Node, part: pa.Field) -> Node:
    """The subfield of a struct in a list. `box` and `reference_px` are lists themselves."""
    scalar = part.type.value_type if pa.types.is_list(part.type) else part.type
    read = {**source, "transform": {"jsonPath": part.name}}
    return {**_field(f"{parent}/{part.name}", PARTS[part.name], _TYPES[scalar]), "source": read}
