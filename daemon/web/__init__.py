"""The REST interface: `gunicorn 'daemon.web:create_app()'`."""

from daemon.web.app import create_app

__all__ = ["create_app"]
