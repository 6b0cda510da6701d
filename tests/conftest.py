"""What holds for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Started by `nohup` or in the background of a script, we ignore these, and so would all that tests
# start: programs that are sent them would go on.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# Nothing here is meant for a proxy, which would be asked for this machine's own addresses too.
for _name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)

# How long something takes tells of the machine and what else it does, and what is tried is the same
# each time: whether a change is taken must not depend on either.
settings.register_profile(
    "the same anywhere",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("the same anywhere")

# Users' programs write through a buffer that is flushed at the end, which may fail.
os.environ.pop("PYTHONUNBUFFERED", None)
