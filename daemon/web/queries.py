"""
What the query of a request says, read strictly: whoever wrote a name in it meant something by it.

Passed over, a misspelt filter would answer with everybody's tasks.
"""

from __future__ import annotations

from flask import request

from daemon.web.errors import refused


def query_of(*known: str) -> dict[str, str]:
    """
    Return the values of a query by their names, of which only these may be there.

    Raises:
        ApiError: another is, or one stands twice.
    """
    given = whole_query()
    for name in given:
        if name not in known:
            key = "errors.unknown_parameter" if known else "errors.no_parameters"
            raise refused(name, key, known=", ".join(known))
    return given


def whole_query() -> dict[str, str]:
    """
    Return the values of a query by their names, whatever these are.

    Raises:
        ApiError: one stands twice.
    """
    found: dict[str, str] = {}
    for name, value in request.args.items(multi=True):
        if name in found:
            raise refused(name, "errors.given_twice")
        found[name] = value
    return found
