"""Options that the jobs share: old spellings, devices, and outputs that would overwrite an input."""

from pathlib import Path

import pytest
import torch

from motionshards.cli import COMMANDS, find_command
from motionshards.jobs import export
from motionshards.jobs.options import check_output, writing
from motionshards.schemas.errors import ConfigError
from motionshards.trainers.parallel import choose_device

REQUIRED = {
    "train": ("--model", "fomm", "--config", "vox-256", "--data", "absent", "--output", "absent/run"),
    "evaluate": ("--checkpoint", "absent.pt", "--data", "absent", "--output", "absent/out"),
    "animate": ("--checkpoint", "absent.pt", "--image", "absent.png", "--driving", "absent.mp4", "--output", "absent/out.mp4"),
    "finetune": ("--checkpoint", "absent.pt", "--images", "absent.png", "--output", "absent/out.pt"),
    "drive": ("--checkpoint", "absent.pt", "--driving", "absent.mp4", "--output", "absent/out.mp4"),
    "edit": ("--checkpoint", "absent.pt", "--image", "absent.png", "--au", "AU12=1", "--output", "absent/out.png"),
    "rotate": ("--checkpoint", "absent.pt", "--image", "absent.png", "--output", "absent/out.png"),
    "download": ("--source", "taichi", "--metadata", "absent.csv", "--output", "absent"),
    "export-model": ("--checkpoint", "absent.pt", "--output", "absent/out"),
}


def run(name: str, *more: str) -> int:
    return find_command(COMMANDS[name][0])([*REQUIRED[name], *more])


@pytest.mark.parametrize(
    ("name", "old", "new", "value", "parsed"),
    [
        ("train", "--processes", "--workers", "3", 3),
        ("train", "--pictures-every", "--images-every", "7", 7),
        ("animate", "--source", "--image", "face.png", Path("face.png")),
        ("finetune", "--frames", "--images", "a.png", (Path("absent.png"), Path("a.png"))),
        ("download", "--again", "--retry", "dead", ("dead",)),
    ],
)
@pytest.mark.parametrize("joined", [False, True])
def test_old_spellings_are_accepted_with_a_warning(
    name: str, old: str, new: str, value: str, parsed: object, joined: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"{old}={value}"] if joined else [old, value]
    options = find_command(COMMANDS[name][0]).parse([*REQUIRED[name], *words])
    assert getattr(options, new[2:].replace("-", "_")) == parsed
    assert capsys.readouterr().err == f"warning: {old} is now {new}; the next release will not accept {old}\n"


def test_the_old_name_of_export_model_works_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([*REQUIRED["export-model"]]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: jobs.export is now jobs.export_model;")
    assert error == "error: checkpoint not found: absent.pt"


@pytest.mark.parametrize("name", [*REQUIRED])
def test_every_job_can_be_quiet_and_print_json(name: str) -> None:
    options = find_command(COMMANDS[name][0]).parse([*REQUIRED[name], "--quiet", "--json"])
    assert options is not None and (options.quiet, options.json) == (True, True)


@pytest.mark.parametrize("name", [name for name in REQUIRED if name not in ("download", "export-model")])
@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:-1", "cpu:0", ""])
def test_all_jobs_refuse_unknown_devices_with_the_same_message(
    name: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, f"--device={device}") == 2
    assert capsys.readouterr().err == f"error: device is {device!r}, must be auto, cpu, cuda or cuda:N\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_without_cuda_auto_is_the_cpu_and_gpus_are_refused() -> None:
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "cuda:1"):
        with pytest.raises(ConfigError, match=f"device is '{name}', but CUDA is not available on this machine"):
            choose_device(name)


@pytest.mark.gpu
def test_with_cuda_auto_is_the_gpu_and_missing_gpus_are_refused() -> None:
    assert choose_device("auto").type == "cuda" and choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="this machine has"):
        choose_device("cuda:99")


def test_an_output_may_not_be_an_input_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "link.png").symlink_to("a.png")
    for output, message in (("link.png", "is also an input"), ("a.jpg", r"suffix \.png or \.webp"), (".", "is a directory")):
        with pytest.raises(ConfigError, match=message):
            check_output(tmp_path / output, (None, tmp_path / "absent.pt", tmp_path / "a.png"), (".png", ".webp"))
    check_output(tmp_path / "B.PNG", (None, tmp_path / "a.png"), (".png", ".webp"))


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file cannot be written: File exists"), writing(tmp_path / "file"):
        (tmp_path / "file").mkdir()


def test_misspelt_options_are_reported_with_the_similar_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("animate", "--best-fame") == 2
    assert "Unknown option: --best-fame. Did you mean --best-frame?" in capsys.readouterr().err


def test_the_last_value_of_a_repeated_option_is_used() -> None:
    options = find_command(COMMANDS["train"][0]).parse(
        [*REQUIRED["train"], "--batch", "4", "--config", "other.yaml", "--batch=8"]
    )
    assert options is not None and (options.batch, options.config) == (8, "other.yaml")
