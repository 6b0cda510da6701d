"""
The REST interface as a Flask app; composes, decides nothing.

It knows nothing of the service but the file system, so any number of processes may serve it,
beside the service or in a unit of their own.
"""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response
from gunicorn.errors import AppImportError
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from daemon import health
from daemon.atomic import make_folder
from daemon.config import Config, current_config
from daemon.errors import ConfigError
from daemon.keys import FOLDER, Keys
from daemon.logs import configure_logs
from daemon.outbox import StatusFiles
from daemon.spool import Spool
from daemon.task_view import Language
from daemon.web import (
    answers,
    auth,
    bodies,
    downloads,
    errors,
    languages,
    monitoring,
    openapi,
    pages,
    stills,
    tasks,
    uploads,
)
from daemon.web.context import Context, keep
from daemon.web.index import Index


def create_app(config: Path | None = None) -> Flask:
    """
    Return the app of one web process, whose logs go to the service's files.

    Args:
        config: the file; else the one that $MEDIA_CLEANER_CONFIG names, else ./config.yaml.

    Raises:
        AppImportError: the file is wrong or not there, or a folder cannot be made. It is what
            gunicorn says in one line before it ends; anything else it shows as a traceback.
    """
    try:
        settings = current_config(config)
        logs = settings.place(settings.logs)
        make_folder(logs)
        configure_logs(logs, rotates=False)  # the service rotates them
        return app_of(settings)
    except ConfigError as error:
        raise AppImportError(error.message) from error
    except OSError as error:
        reason = f"{error.filename} cannot be used: {error.strerror}; mend that or name another."
        raise AppImportError(reason) from error


def app_of(config: Config, spool: Spool | None = None) -> Flask:
    """Return the app of a configuration, and touch nothing else of the process."""
    state = config.place(config.state)
    spool = spool or Spool(state)
    app = _App("daemon.web", static_folder=None)
    # Two slashes are a wrong address, not one to be sent on to another.
    app.url_map.merge_slashes = False
    index = Index(state, spool)
    keep(
        app,
        Context(
            config=config,
            state=state,
            spool=spool,
            statuses=StatusFiles(spool, config.language, lambda: health.known_mounts(state)),
            index=index,
            keys=Keys(state / FOLDER),
        ),
    )
    bodies.install(app)
    answers.install(app)
    languages.install(app)
    errors.install(app)
    auth.install(app)
    app.before_request(index.warm_up)  # not sooner: threads end where a server forks
    for part in (tasks, uploads, downloads, stills, monitoring, openapi, pages):
        app.register_blueprint(part.blueprint)
    return app


class _App(Flask):
    def language_for(self, accepted: str) -> Language:
        """Return the language for a request that comes to no handler, by its Accept-Language."""
        with self.app_context():
            return languages.language_for(parse_accept_header(accepted, LanguageAccept))

    def make_default_options_response(self) -> Response:
        """Answer which methods there are, and nothing else."""
        response = super().make_default_options_response()
        response.status_code = 204
        del response.headers["Content-Type"]
        return response
