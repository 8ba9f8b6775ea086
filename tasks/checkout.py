"""What belongs to this folder alone: the port of its Prefect server, and its work pool, in `.env`.

Two checkouts never meet: `prefect deployment run` in one of them reaches no server of the other.
"""

from __future__ import annotations

import hashlib
import random
import re
import socket
from contextlib import suppress
from pathlib import Path

FILE = Path(".env")  # Prefect reads it in the folder in which it runs
PORTS = range(20_000, 32_000)  # below those that systems hand out to whoever asks for any
HEADER = "# Made by `make up`: the Prefect server and the work pool of this folder alone."
OURS = re.compile(
    r"^(# Made by `make up`.*|PREFECT_(API_URL|SERVER_API_PORT|DEFAULT_WORK_POOL_NAME)=.*)\n?",
    re.MULTILINE,
)


def pool_name() -> str:
    """The work pool of this folder: its name, and a hash of its path."""
    folder = Path.cwd().resolve()
    return f"{folder.name}-{hashlib.blake2b(bytes(folder), digest_size=4).hexdigest()}"


def settle() -> bool:
    """Write the settings of this folder into `.env`, unless they are there.

    A copy of a folder gets settings of its own. Other lines of the file stay. Returns whether the
    file was changed: a process that has read the settings of Prefect must then start again.
    """
    content = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    pool = f"PREFECT_DEFAULT_WORK_POOL_NAME={pool_name()}"
    if pool in content.splitlines():
        return False
    port = free_port()
    lines = [
        HEADER,
        f"PREFECT_API_URL=http://127.0.0.1:{port}/api",
        f"PREFECT_SERVER_API_PORT={port}",
        pool,
    ]
    others = OURS.sub("", content)
    unfinished = FILE.with_name(f"{FILE.name}.tmp")
    unfinished.write_text(others + "\n".join(lines) + "\n", encoding="utf-8")
    unfinished.replace(FILE)
    return True


def free_port() -> int:
    """A port of this machine for a server that starts later."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("100 ports of 127.0.0.1 are taken")
