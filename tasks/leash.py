"""Run a command that ends with the process that started it: ``python leash.py COMMAND …``.

Standard input is a pipe that the starter holds open. When it closes, because the starter has ended
however it ended, the whole process group ends. It works wherever there are pipes; only the standard
library is imported.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 10.0  # between the signal to end and the kill


def main() -> None:
    """Run the command of the arguments, and end with its exit code."""
    # A handler, and not "ignore", which the command would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    code = command.wait()
    os._exit(code if code >= 0 else 128 - code)  # the thread still reads


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
