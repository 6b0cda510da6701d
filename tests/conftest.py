"""What holds for all tests."""

from __future__ import annotations

import signal

# Started by `nohup` or in the background of a script, we ignore these, and so would all that tests
# start: programs that are sent them would go on.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
