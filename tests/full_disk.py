"""Runs stages on a disk without room: `python -m tests.full_disk PROJECT DISK CASES`.

It mounts a small file system at DISK, so it runs in a mount namespace of its own (`unshare`). CASES
is a JSON list of stages, each with the KiB that are left on the disk, or null where the disk is
read-only. Standard output is a JSON list with an `Ending` for each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

DISK_MIB = 64
FILLER = Path("filler")
OUTPUTS = ("data", "models", "reports")
# What the stages import, imported once for all of them.
HEAVY = ("matplotlib.pyplot", "mlflow", "open_clip", "pandas", "spacy", "timm", "transformers")


@dataclass(frozen=True)
class Ending:
    """How a stage ended.

    Attributes:
        code: the exit code; negative for a signal, 70 for an error with a traceback.
        said: what it wrote to the screen.
        whole: whether all outputs are what they were before.
    """

    code: int
    said: str
    whole: bool


def run_stage(stage: str, left_kib: int | None, log: Path) -> Ending:
    """Run a stage in this folder, with so much room left on the disk."""
    shutil.rmtree(".cache", ignore_errors=True)  # rows that are reused take no room
    before = digests()
    remount("ro") if left_kib is None else fill(left_kib)
    child = os.fork()
    if not child:
        run_command(["structxlip", stage, "--dataset", "scenes"], log)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    whole = digests() == before
    if left_kib is None:
        remount("rw")
    FILLER.unlink(missing_ok=True)
    return Ending(code, log.read_text(errors="replace"), whole)


def run_command(command: list[str], log: Path) -> None:
    """Run the command line in this process, with its output in a file, and end the process."""
    if not has_room():
        os.environ["TMPDIR"] = str(Path.cwd())
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = [*command, *(["--arm", "structxlip"] if "train" in command else [])]
    code = 0
    try:
        import_module("structxlip.cli").main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fill(left_kib: int) -> None:
    """Fill the disk of this folder but for some KiB."""
    disk = os.statvfs(".")
    with FILLER.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - left_kib * 1024)


def has_room() -> bool:
    """Whether anything is left on the disk of this folder."""
    return bool(os.statvfs(".").f_bavail)


def remount(mode: str) -> None:
    """Mount the file system of this folder read-only, `ro`, or as before, `rw`."""
    subprocess.run(["mount", "-o", f"remount,{mode},size={DISK_MIB}m", Path.cwd()], check=True)


def digests() -> dict[str, str]:
    """A hash of every file among the outputs, hidden ones too."""
    files = [path for out in OUTPUTS for path in Path(out).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def mount_namespace() -> list[str]:
    """The command by which a program may mount file systems that it alone sees."""
    for as_root in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *as_root, "--mount"]
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    raise AssertionError("this system lets nobody mount a file system")


def main() -> None:
    project, disk = map(Path, sys.argv[1:3])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", disk], check=True)
    wanted = ("params.yaml", "assets", "structxlip", *OUTPUTS)
    subprocess.run(["cp", "-r", *(project / name for name in wanted), disk], check=True)
    os.chdir(disk)
    settings = Path("params.yaml")
    settings.write_text(settings.read_text().replace("workers: 2", "workers: 1"))
    for name in HEAVY:
        import_module(name)
    log = disk.with_suffix(".log")
    endings = [run_stage(stage, left, log) for stage, left in json.loads(sys.argv[3])]
    sys.stdout.write(json.dumps([asdict(ending) for ending in endings]))


if __name__ == "__main__":
    main()
