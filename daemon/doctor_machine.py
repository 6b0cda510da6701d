"""The doctor's look at the machine: user, limits, programs, address, units, the service itself."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from daemon import health, keys
from daemon.child import answer_of
from daemon.config import Config
from daemon.doctor import Finding, Programs, of_sentence, ok, problem, warning
from daemon.errors import CannotListen, UsageError
from daemon.listening import check_host, listen
from daemon.machine import cores, default_workers

_LEAST_DESCRIPTORS = 4096
_SHARED_MEMORY = Path("/dev/shm")
_LEASES = Path("/proc/sys/fs/leases-enable")
_UNITS = Path("/etc/systemd/system")
_SYSTEMD = Path("/run/systemd/system")  # is there where systemd runs the machine
# Importing torch takes 2 s on an idle machine.
_PROGRAMS_SECONDS = 120.0
_SYSTEMCTL_SECONDS = 10.0
# What each encoder is for.
_ENCODERS = {
    "libx264": "ordinary videos",
    "libx265": "10 bits and HDR",
    "libvpx-vp9": "odd_size: keep",
    "aac": "sound",
    "flac": "sound that AAC cannot hold",
}
_DECODERS = ("h264", "hevc", "vp9", "av1", "aac", "opus")


def of_user(config: Config) -> Iterator[Finding]:
    """Whether this is the service's user: else rights are judged of somebody else."""
    state = config.place(config.state)
    ours = os.geteuid()
    owner = state.stat().st_uid if state.is_dir() else ours
    if owner == ours:
        yield ok("user", f"this user ({ours}) is the service's")
    else:
        yield warning(
            "user",
            f"{state} belongs to the user {owner}, and this is {ours}, whose rights were looked at",
            "Run this as the service's user: sudo -u media-cleaner media-cleaner doctor.",
        )


def of_limits(config: Config) -> Iterator[Finding]:
    """Descriptors, shared memory, leases and cores."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY or most >= _LEAST_DESCRIPTORS:
        yield ok("limits", "enough files may be open at once")
    else:
        yield warning(
            "limits",
            f"only {most} files may be open at once, too few for many clients",
            "LimitNOFILE=65536 in the unit, or ulimit -n 65536 before the start.",
        )
    if not os.access(_SHARED_MEMORY, os.W_OK):
        yield warning(
            "limits",
            f"{_SHARED_MEMORY} may not be written, so a slow disk can hold up requests",
            f"Mount a tmpfs on {_SHARED_MEMORY}.",
        )
    yield from _of_leases()
    workers = config.workers or default_workers()
    if workers <= cores():
        yield ok("workers", f"{workers} on {cores()} cores")
    else:
        yield warning(
            "workers",
            f"{workers} on {cores()} cores only take turns, and each takes memory",
            f"Set workers to {default_workers()}, or null for as many as fit.",
        )


def _of_leases() -> Iterator[Finding]:
    try:
        are_enabled = _LEASES.read_text("ascii").strip() != "0"
    except OSError:
        are_enabled = False
    if not are_enabled:
        yield warning(
            "limits",
            "the kernel gives no leases, so whether a file is still written is told by time alone",
            "sysctl fs.leases-enable=1.",
        )


def of_programs(config: Config) -> Iterator[Finding]:
    """PyAV's FFmpeg and torch, asked of a process of its own."""
    try:
        programs: Programs = answer_of("daemon.doctor_process", _PROGRAMS_SECONDS)
    except (OSError, EOFError) as error:
        yield problem("programs", f"the process that looks at them {error}", _INSTALL)
        return
    yield from _of_codecs(programs)
    yield from _of_torch(programs, config)


_INSTALL = "Install media-cleaner anew: systemd/install.sh, or make clean setup."


def _of_codecs(programs: Programs) -> Iterator[Finding]:
    if programs.av is None:
        yield problem("codecs", f"PyAV cannot be imported: {programs.av_error}", _INSTALL)
        return
    lacking = [f"{n} ({what})" for n, what in _ENCODERS.items() if n not in programs.encoders]
    lacking += [f"the decoder {name}" for name in _DECODERS if name not in programs.decoders]
    if lacking:
        yield problem(
            "codecs",
            f"the FFmpeg of PyAV {programs.av} lacks {', '.join(lacking)}",
            "Install PyAV's own wheel, which has them: pip install --force-reinstall av.",
        )
    else:
        yield ok("codecs", f"PyAV {programs.av} has every encoder and decoder that is needed")


def _of_torch(programs: Programs, config: Config) -> Iterator[Finding]:
    if programs.torch is None:
        yield problem("torch", f"it cannot be imported: {programs.torch_error}", _INSTALL)
        return
    build = f"for CUDA {programs.cuda}" if programs.cuda else "for the processor alone"
    if config.device == "cpu":
        yield ok("torch", f"{programs.torch} {build}; computes on the processor (device: cpu)")
    elif programs.accelerator is not None:
        yield ok("torch", f"{programs.torch} {build}; computes on {programs.accelerator}")
    elif programs.has_driver:
        yield warning(
            "torch",
            f"{programs.torch} {build} does not reach the NVIDIA device of this machine",
            "Install another build (TORCH_INDEX=URL systemd/install.sh), a newer driver, and under"
            " systemd the drop-in systemd/gpu.conf.",
        )
    else:
        yield ok(
            "torch", f"{programs.torch} {build}; no accelerator here (device: {config.device})"
        )


def of_address(config: Config) -> Iterator[Finding]:
    """Whether requests can come to `host` and `port`."""
    place = f"{config.host}:{config.port}"
    state = config.place(config.state)
    told = health.read(state)
    is_running = health.is_fresh(told, datetime.now().astimezone())
    if config.web_workers == 0:
        yield ok("port", "requests are answered by a unit of its own (web_workers: 0)")
        return
    try:
        check_host(config.host, keys.are_there(state / keys.FOLDER), config.auth.required)
        if is_running and told is not None and told.url is not None:
            yield ok("port", f"the service answers at {told.url}")
            return
        for listener in listen(config.host, config.port):
            listener.close()
        yield ok("port", f"{place} is free")
    except (CannotListen, UsageError) as error:
        yield of_sentence("port", error.message)


def of_units(config: Config) -> Iterator[Finding]:
    """Whether systemd runs the service, where it runs this machine."""
    names = ["media-cleaner.service"]
    if config.web_workers == 0:
        names.append("media-cleaner-web.service")
    systemctl = shutil.which("systemctl")
    if systemctl is None or not _SYSTEMD.is_dir():
        yield ok("units", "no systemd runs this machine; something else has to start the service")
        return
    for name in names:
        yield _of_unit(systemctl, name)


def _of_unit(systemctl: str, name: str) -> Finding:
    if not (_UNITS / name).exists():
        return warning("units", f"{name} is not installed", "Run systemd/install.sh as root.")
    for question, remedy in (("is-enabled", "enable"), ("is-active", "start")):
        answer = subprocess.run(
            [systemctl, question, name],
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_SECONDS,
            check=False,
        )
        state = answer.stdout.strip()
        if not state:  # as in a container that sees no D-Bus
            text = f"systemd cannot be asked: {answer.stderr.strip()}"
            return warning("units", text, f"Where it can be: systemctl status {name}.")
        if answer.returncode != 0:
            text = f"{name} {question}: {state}"
            return warning("units", text, f"systemctl {remedy} {name}; journalctl -u {name}.")
    return ok("units", f"{name} is enabled and active")


def of_service(config: Config) -> Iterator[Finding]:
    """What a service that runs says of itself."""
    state = config.place(config.state)
    told, now = health.read(state), datetime.now().astimezone()
    if not health.is_fresh(told, now) and not health.is_process_alive(state):
        yield ok(
            "service", "it does not run: systemctl start media-cleaner, or media-cleaner serve"
        )
        return
    found = health.problems_now(told, now, True, health.trouble_of(state))
    for sentence in found:
        yield of_sentence("service", sentence)
    if told is not None and not found:
        yield ok("service", f"it is {told.status.value} (process {told.pid}) and well")
