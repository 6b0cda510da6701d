"""How folders of records are looked at that others change meanwhile: what counts, how often."""

from __future__ import annotations

import re

# A record's name is its task's and this; it lies in its status' folder or in one for its day.
SUFFIX = ".json"
DAY = re.compile(r"\d{4}-\d\d-\d\d")
# A listing looks again at the folders that changed while it looked, until none did: what one look
# missed because it went the other way, another finds. In a storm of changes it is content by then.
MOST_LOOKS = 12
# Two changes within one tick of the clock that the kernel writes mtimes by, 10 ms at most, leave
# one mtime: that soon after a change a folder is listed again in any case.
TICK_NS = 50_000_000
