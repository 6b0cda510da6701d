"""
What programs and people are told over the network, in Russian and in English.

One catalogue: a text is named by the module that says it and has the same facts in both
languages, which a test compares. The words of a status are in `task_view`.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.task_view import Language

LANGUAGES: tuple[Language, ...] = ("ru", "en")

_RUSSIAN = {
    # Errors of HTTP itself, by number
    "http.400": "Запрос составлен неверно.",
    "http.404": "По адресу {path} ничего нет; что есть, описывает /docs.",
    "http.405": "Метод {method} к {path} неприменим; допустимо: {allowed}.",
    "http.408": "Запрос не был передан вовремя; повторите его.",
    "http.411": "Запросу нужна длина: заголовок Content-Length.",
    "http.412": "Файл уже не тот, какой нужен (If-Match, If-Unmodified-Since).",
    "http.413": "Запрос слишком велик.",
    "http.414": "Адрес запроса слишком длинный.",
    "http.415": "Тело запроса такого вида не принимается.",
    "http.416": "Запрошенного диапазона в файле нет.",
    "http.417": "Заголовок Expect может быть только 100-continue.",
    "http.431": "Заголовки запроса слишком велики.",
    "http.other": "Запрос отклонён (код {status}).",
    # daemon/web/errors.py
    "errors.internal": "Непредвиденная ошибка сервера; подробности в его журнале (метка {mark}).",
    "errors.no_room": "На диске сервера нет места; повторите позже.",
    "errors.storage": "Файлы сервера сейчас недоступны; повторите позже.",
    "errors.invalid_parameter": "{field}: {value}; допустимо: {allowed}.",
    "errors.unknown_parameter": "Неизвестный параметр {field}; известны: {known}.",
    "errors.no_parameters": "Неизвестный параметр {field}; здесь их нет.",
    "errors.given_twice": "{field}: указано дважды.",
    "errors.rejected_parameter": "{field}: {reason}",
    "errors.rejected_url": "{field}: {value}; {reason}.",
    # daemon/web/auth.py
    "auth.invalid_api_key": "Invalid API key",  # as programs know it, in either language
    "auth.too_many_tries": "Слишком много неверных ключей с этого адреса;"
    " повторите через {seconds} с.",
    "auth.admin_only": "Это может только ключ администратора.",
    "auth.foreign_origin": "Запрос отправила страница с другого адреса; такие не принимаются.",
    "auth.key_required": "Ключей API нет, поэтому сервер отвечает только самой этой машине, без"
    " прокси и по имени localhost или 127.0.0.1; добавьте ключ: media-cleaner keys add ИМЯ.",
    # The spool's refusals, by their codes
    "spool.unknown_task": "Задача {task_id} не найдена.",
    "spool.wrong_status": "Задача {task_id} {status}; это к ней неприменимо.",
    "spool.task_exists": "Задача {task_id} уже принята раньше.",
    "spool.queue_full": "Очередь заполнена ({max_pending} задач ждут); повторите позже.",
    "spool.task_busy": "Задачу {task_id} сейчас изменяет кто-то другой; повторите.",
    "status.pending": "ожидает обработки",
    "status.processing": "обрабатывается",
    "status.completed": "завершена",
    "status.failed": "завершилась ошибкой",
    "status.cancelled": "отменена",
    # What a parameter may be
    "parameters.epsilon": "число от 0.04 до 0.20",
    "parameters.video_strength": "число от 1.0 до 2.0",
    "parameters.audio_level": "none, слабый/weak, средний/medium, сильный/strong",
    "parameters.every_n_frames": "целое число от 1 до 30",
    "parameters.user_id": "от 1 до 64 латинских букв, цифр и знаков `_`, `.`, `@`, `-`,"
    " не начиная с `.`",
    "parameters.notes": "текст не длиннее 2000 знаков",
    "parameters.webhook_url": "адрес http или https не длиннее 2000 знаков",
    "parameters.mode": "protect или strip",
    # Why a webhook_url is not called, by the values of `Refusal`
    "webhook_url.misread": "в адресе есть пробел, управляющий знак или обратная черта; запишите"
    " их через %",
    "webhook_url.no_url": "допустим адрес http или https",
    "webhook_url.has_user": "в адресе есть имя пользователя или пароль; уберите их",
    "webhook_url.not_public": "у этого узла нет публичного адреса, а другие вызываются, только"
    " если так задано в config.yaml: webhook: {{allow_private: true}}",
    # daemon/web/tasks.py
    "tasks.cancelled": "Задача отменена.",
    "tasks.retried": "Задача снова в очереди.",
    "tasks.status": "pending, processing, completed, failed, cancelled",
    "tasks.limit": "целое число от 1 до {most}",
    "tasks.before": "полный номер задачи",
    "tasks.days": "число от 0 до {most}",
    "tasks.days_alone": "только days, число от 0 до {most}, в адресе или в форме",
    # daemon/web/monitoring.py
    "monitoring.part": "{part}: не в порядке; подробнее — с ключом администратора, командой"
    " media-cleaner stats или в журнале logs/server.log.",
    # daemon/web/uploads.py and upload_form.py
    "uploads.accepted": "Видео загружено и добавлено в очередь",
    "uploads.no_file": "В запросе нет видео: его ждут в поле file формы multipart/form-data.",
    "uploads.no_file_name": "У поля file нет имени файла; отправьте видео как файл.",
    "uploads.other_field": "Видео ждут в поле file, а не {name}.",
    "uploads.two_files": "В поле file больше одного файла; отправляйте по одному видео.",
    "uploads.bad_form": "Форма составлена неверно: {reason}.",
    "uploads.incomplete": "Загрузка оборвалась; повторите её.",
    "uploads.too_slow": "Данные поступали слишком медленно; повторите загрузку.",
    "uploads.too_large": "Видео больше {most_gb} ГБ (max_video_size_gb).",
    "uploads.form_too_large": "Запрос больше, чем может занять видео с параметрами.",
    "uploads.too_many": "Сейчас загружается слишком много видео; повторите чуть позже.",
    "uploads.field_too_long": "{field}: длиннее 64 КБ.",
    "uploads.not_utf8": "{field}: это не текст в UTF-8.",
    "uploads.own_user": "только {user_id}, чей это ключ",
    "uploads.encoding": "Тело запроса сжато ({encoding}); отправьте без Content-Encoding.",
    "uploads.extension": "Файл {name} не принимается: допустимы {allowed}.",
    "uploads.name": "имя, которое умещает файловая система сервера: короткое и без"
    ' \\ : * ? " < > |',
    "uploads.unreadable": "Файл {name} не принят: {reason}",
    "uploads.no_prober": "Сейчас некому проверить видео; повторите чуть позже.",
    "uploads.inbox_away": "Папка для загрузок сейчас недоступна; повторите позже.",
    "uploads.bad_key": "Idempotency-Key: от 1 до 255 печатных знаков ASCII.",
    "uploads.length": "размер видео в байтах, не больше 15 цифр",
    "uploads.other_content": "С этим Idempotency-Key уже отправлено другое; возьмите новый.",
    # daemon/web/downloads.py
    "downloads.not_finished": "Задача {task_id} {status}; скачать пока нечего.",
    "downloads.removed": "Результат задачи {task_id} удалён по сроку хранения.",
    "downloads.away": "Папка с результатами сейчас недоступна; повторите позже.",
    # daemon/web/stills.py
    "stills.of": "original или protected",
    "stills.at": "число секунд от начала видео",
    "stills.original_removed": "Исходного видео задачи {task_id} больше нет.",
    "stills.unreadable": "Кадр из {name} получить нельзя: {reason}",
    "stills.no_prober": "Сейчас некому открыть видео; повторите чуть позже.",
    "stills.too_many": "Сейчас запрошено слишком много кадров; повторите чуть позже.",
}

_ENGLISH = {
    # Errors of HTTP itself, by number
    "http.400": "The request is not well formed.",
    "http.404": "There is nothing at {path}; /docs describes what there is.",
    "http.405": "{method} cannot be done to {path}; allowed is {allowed}.",
    "http.408": "The request did not arrive in time; repeat it.",
    "http.411": "The request needs a length: the header Content-Length.",
    "http.412": "The file is no longer the one that is wanted (If-Match, If-Unmodified-Since).",
    "http.413": "The request is too large.",
    "http.414": "The address of the request is too long.",
    "http.415": "A body of this type is not taken.",
    "http.416": "The file has no such range.",
    "http.417": "The header Expect may be 100-continue only.",
    "http.431": "The headers of the request are too large.",
    "http.other": "The request was refused (status {status}).",
    # daemon/web/errors.py
    "errors.internal": "An error that was not foreseen; the server's log tells more (mark {mark}).",
    "errors.no_room": "The server's disk has no room; try again later.",
    "errors.storage": "The server's files cannot be used just now; try again later.",
    "errors.invalid_parameter": "{field} is {value}; allowed is {allowed}.",
    "errors.unknown_parameter": "Unknown parameter {field}; known are {known}.",
    "errors.no_parameters": "Unknown parameter {field}; there are none here.",
    "errors.given_twice": "{field}: given twice.",
    "errors.rejected_parameter": "{field}: {reason}",
    "errors.rejected_url": "{field} is {value}; {reason}.",
    # daemon/web/auth.py
    "auth.invalid_api_key": "Invalid API key",
    "auth.too_many_tries": "Too many wrong keys from this address; try again in {seconds} s.",
    "auth.admin_only": "Only an admin's key may do this.",
    "auth.foreign_origin": "A page from another address sent this request; such are not taken.",
    "auth.key_required": "There are no API keys, so only this machine itself is answered, without"
    " a proxy and by the name localhost or 127.0.0.1; add a key: media-cleaner keys add NAME.",
    # The spool's refusals, by their codes
    "spool.unknown_task": "There is no task {task_id}.",
    "spool.wrong_status": "Task {task_id} is {status}; this cannot be done to it.",
    "spool.task_exists": "Task {task_id} was submitted before.",
    "spool.queue_full": "The queue is full ({max_pending} tasks wait); try again later.",
    "spool.task_busy": "Somebody else is changing task {task_id} just now; try again.",
    "status.pending": "pending",
    "status.processing": "processing",
    "status.completed": "completed",
    "status.failed": "failed",
    "status.cancelled": "cancelled",
    # What a parameter may be
    "parameters.epsilon": "a number from 0.04 to 0.20",
    "parameters.video_strength": "a number from 1.0 to 2.0",
    "parameters.audio_level": "one of none, слабый/weak, средний/medium, сильный/strong",
    "parameters.every_n_frames": "a whole number from 1 to 30",
    "parameters.user_id": "1 to 64 Latin letters, digits, `_`, `.`, `@` or `-`,"
    " not starting with `.`",
    "parameters.notes": "text of at most 2000 characters",
    "parameters.webhook_url": "an http or https URL of at most 2000 characters",
    "parameters.mode": "protect or strip",
    # Why a webhook_url is not called, by the values of `Refusal`
    "webhook_url.misread": "it holds a space, a control character or a backslash; quote it by %",
    "webhook_url.no_url": "allowed is an http or https URL",
    "webhook_url.has_user": "it holds a user name or password; leave it out",
    "webhook_url.not_public": "its host has no public address, and others are called only where"
    " `webhook: {{allow_private: true}}` in config.yaml says so",
    # daemon/web/tasks.py
    "tasks.cancelled": "The task is cancelled.",
    "tasks.retried": "The task is in the queue again.",
    "tasks.status": "one of pending, processing, completed, failed, cancelled",
    "tasks.limit": "a whole number from 1 to {most}",
    "tasks.before": "a task's whole id",
    "tasks.days": "a number from 0 to {most}",
    "tasks.days_alone": "days alone, a number from 0 to {most}, in the address or a form",
    # daemon/web/monitoring.py
    "monitoring.part": "{part}: not well; an admin's key, the command media-cleaner stats and"
    " logs/server.log tell more.",
    # daemon/web/uploads.py and upload_form.py
    "uploads.accepted": "The video is uploaded and in the queue",
    "uploads.no_file": "No video came: it belongs in the field file of multipart/form-data.",
    "uploads.no_file_name": "The field file has no file name; send the video as a file.",
    "uploads.other_field": "The video belongs in the field file, not in {name}.",
    "uploads.two_files": "The field file has more than one file; send one video at a time.",
    "uploads.bad_form": "The form is not well formed: {reason}.",
    "uploads.incomplete": "The upload broke off; repeat it.",
    "uploads.too_slow": "The data came too slowly; repeat the upload.",
    "uploads.too_large": "The video is larger than {most_gb} GB (max_video_size_gb).",
    "uploads.form_too_large": "The request is larger than a video and its parameters can be.",
    "uploads.too_many": "Too many videos are being uploaded just now; try again a little later.",
    "uploads.field_too_long": "{field}: longer than 64 KB.",
    "uploads.not_utf8": "{field}: not text in UTF-8.",
    "uploads.own_user": "only {user_id}, whose key this is",
    "uploads.encoding": "The body is encoded ({encoding}); send it without Content-Encoding.",
    "uploads.extension": "{name} is not taken: allowed is {allowed}.",
    "uploads.name": "a name that the server's file system can hold: short and without"
    ' \\ : * ? " < > |',
    "uploads.unreadable": "{name} {reason}",
    "uploads.no_prober": "Nobody can look at the video just now; try again a little later.",
    "uploads.inbox_away": "The folder for uploads is not available just now; try again later.",
    "uploads.bad_key": "Idempotency-Key: 1 to 255 printable ASCII characters.",
    "uploads.length": "the video's size in bytes, at most 15 digits",
    "uploads.other_content": "This Idempotency-Key was used for something else; take a new one.",
    # daemon/web/downloads.py
    "downloads.not_finished": "Task {task_id} is {status}; there is nothing to download yet.",
    "downloads.removed": "The result of task {task_id} was removed when its time had come.",
    "downloads.away": "The folder of results is not available just now; try again later.",
    # daemon/web/stills.py
    "stills.of": "original or protected",
    "stills.at": "seconds from the beginning of the video",
    "stills.original_removed": "The original of task {task_id} is no longer there.",
    "stills.unreadable": "No frame of {name} can be had: {reason}",
    "stills.no_prober": "Nobody can open videos just now; try again a little later.",
    "stills.too_many": "Too many frames are asked for just now; try again a little later.",
}

TEXTS: Mapping[Language, Mapping[str, str]] = {"ru": _RUSSIAN, "en": _ENGLISH}


def say(language: Language, key: str, **facts: object) -> str:
    """
    Return a text of the catalogue with its facts put in.

    Raises:
        KeyError: the catalogue has no such text, or the text needs a fact that is not given.
    """
    return TEXTS[language][key].format_map(facts)


def has_text(key: str) -> bool:
    """Is there a text of this name?"""
    return key in _ENGLISH
