"""How folders are looked at that others change meanwhile: how often, and which mtimes tell."""

from __future__ import annotations

# A listing looks again at the folders that changed while it looked, until none did: what one look
# missed because it went the other way, another finds. In a storm of changes it is content by then.
MOST_LOOKS = 12
# Two changes within one tick of the clock that the kernel writes mtimes by, 10 ms at most, leave
# one mtime: that soon after a change a folder is listed again in any case.
TICK_NS = 50_000_000
