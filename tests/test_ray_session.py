"""Ray's own messages: those about its internals stay off the screen, all others pass."""

from __future__ import annotations

import logging
import os

import pytest

from structxlip.ray_session import CORE_NOISE, QUIET_LOGGERS, core_noise_filtered, quieten


def test_only_the_known_noise_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    line = b"core_worker.cc:1: Actor 'MapWorker' " + CORE_NOISE[0] + b". If the arguments ...\n"
    with core_noise_filtered():
        os.write(2, b"core_worker.cc:2: The node has died\n" + line + b"no newline at the end")
    os.write(2, b"\n" + line)
    said = capfd.readouterr().err
    assert said == f"core_worker.cc:2: The node has died\nno newline at the end\n{line.decode()}"


def test_the_screen_is_back_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), core_noise_filtered():
        raise ValueError("wrong")
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_loggers_of_other_rays_business_are_quiet() -> None:
    quieten()
    for name in QUIET_LOGGERS:
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
