"""
What the service and the pipeline say in English, in the caller's language.

They say it for operators: in `state/service.json`, on the command line, in logs. What of it callers
are shown is found here by its English words, as a catalogue of messages is, with its facts. One
that is not found is shown as it is, and said to be English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from daemon.task_view import Language

# Facts that may be sentences themselves.
_SAID = ("reason", "what")
_FACT = re.compile(r"\{(\w+)\}")
_UNKNOWN = "подробности есть только по-английски: {sentence}"

# Which part of the service a problem is of stands before it; keys of config.yaml are kept.
PARTS: Mapping[str, str] = {
    "inbox {name}": "папка inbox {name}",
    "outbox of {name}": "папка outbox для {name}",
    "outbox": "папка outbox",
    "temp": "папка temp",
    "state": "папка state",
    "status files": "файлы статусов",
    "logs": "журналы",
    "workers": "процессы обработки",
    "requests": "ответы на запросы",
    "service": "служба",
    "webhooks cannot be looked at": "уведомления webhook не просмотреть",
    "webhooks cannot be sent": "уведомления webhook не отправить",
}
SENTENCES: Mapping[str, str] = {
    # daemon/health.py
    "No service runs on this state, so tasks wait; start it: media-cleaner serve.": "Служба не"
    " работает, поэтому задачи ждут; запустите её: media-cleaner serve.",
    "The service has not told yet how it is; look again in some seconds.": "Служба ещё не сообщила"
    " о своём состоянии; проверьте снова через несколько секунд.",
    "The service (process {pid}) has not been heard of for {seconds} s; look into logs/server.log"
    " and restart it.": "Служба (процесс {pid}) не отзывается {seconds} с; посмотрите"
    " logs/server.log и перезапустите её.",
    "A record lies in {folder}, such as {name}; mend what is a task's and move it back to its"
    " status' folder, or move it away.": "В {folder} лежит запись {name}; если это задача,"
    " исправьте её и верните в папку её статуса, иначе уберите.",
    "{count} records lie in {folder}, such as {name}; mend what is a task's and move it back to its"
    " status' folder, or move it away.": "В {folder} лежат записи ({count}), например {name}; если"
    " это задачи, исправьте их и верните в папки их статусов, иначе уберите.",
    "{path} is full; make room.": "{path} заполнена; освободите место.",
    # daemon/service.py
    "{path} is another folder than the one that this service works on; bring that back, or restart"
    " the service.": "{path} — другая папка, не та, с которой работает эта служба; верните прежнюю"
    " или перезапустите службу.",
    # daemon/temp_lock.py
    "another service works in {path}; name a folder of its own for each.": "в {path} работает"
    " другая служба; укажите каждой отдельную папку.",
    "another service (process {pid}) works in {path}; name a folder of its own for each.": "в"
    " {path} работает другая служба (процесс {pid}); укажите каждой отдельную папку.",
    "{path} cannot be used ({reason}).": "{path} недоступна ({reason}).",
    "{path} cannot be locked ({reason}).": "{path} нельзя заблокировать ({reason}).",
    # daemon/logs.py
    "{path} cannot be written: {reason}; log lines are lost until it can be.": "в {path} не"
    " записать: {reason}; до тех пор строки журнала теряются.",
    # daemon/disk.py
    "{path} has not answered for {seconds} s; bring it back.": "{path} не отвечает {seconds} с;"
    " восстановите доступ.",
    "nothing is mounted on {mount} any more, where {path} was; mount it.": "на {mount}, где была"
    " {path}, больше ничего не смонтировано; смонтируйте.",
    "{path} is read-only; mend that.": "{path} доступна только для чтения; исправьте это.",
    "{path} may not be read and written by this user; mend that.": "у этого пользователя нет права"
    " читать и писать в {path}; исправьте это.",
    "{path} cannot be used ({reason}); bring it back.": "{path} недоступна ({reason}); восстановите"
    " доступ.",
    "{path} has {free} free, less than min_free_gb ({least}); make room.": "в {path} свободно"
    " {free}, меньше чем min_free_gb ({least}); освободите место.",
    "{path} has no room for more files (inodes); remove some.": "в {path} больше нет места для"
    " файлов (inode); удалите лишние.",
    # daemon/inbox.py, inbox_place.py, watch.py
    "it has not been looked at yet": "ещё не просмотрена",
    "{path} has not answered for {seconds} s": "{path} не отвечает {seconds} с",
    "{path} is not a folder": "{path} — не папка",
    "{path} is read-only": "{path} доступна только для чтения",
    "{path} may not be read and written by this user": "у этого пользователя нет права читать и"
    " писать в {path}",
    "nothing is mounted on {mount} any more, where {path} was": "на {mount}, где была {path},"
    " больше ничего не смонтировано",
    "what was claimed there cannot be recovered: {reason}": "не удалось завершить приём того, что"
    " там уже взято: {reason}",
    "the folder may not be read by this user": "у этого пользователя нет права читать папку",
    "{file_system} tells nothing of what others write": "{file_system} не сообщает, что пишут"
    " другие",
    "this user watches as many folders as fs.inotify.max_user_watches allows": "этот пользователь"
    " наблюдает столько папок, сколько позволяет fs.inotify.max_user_watches",
    "this user has as many queues as fs.inotify.max_user_instances allows": "у этого пользователя"
    " столько очередей, сколько позволяет fs.inotify.max_user_instances",
    # daemon/held_folder.py: what stands in the place of our own folder
    "belongs to user {user}, not to the service's, {own}; if the service made it, `{advice}` it,"
    " else move it away, since what lies in it may be anybody's": "принадлежит пользователю {user},"
    " а не пользователю службы, {own}; если её создала служба, выполните `{advice}`, иначе уберите"
    " её: то, что в ней лежит, может быть чьим угодно",
    "may be written to by others than the service; if the service made it, `{advice}` it, else move"
    " it away, since what lies in it may be anybody's": "доступна для записи не только службе; если"
    " её создала служба, выполните `{advice}`, иначе уберите её: то, что в ней лежит, может быть"
    " чьим угодно",
    "is a link or no folder": "ссылка или не папка",
    # daemon/webhook_secret.py
    "{name} is no secret; allowed is {prefix} and at least {count} random bytes in base64, such as"
    " `openssl rand -base64 32` prints.": "{name} — не секрет; допустимо: {prefix} и не меньше"
    " {count} случайных байтов в base64, какие выводит `openssl rand -base64 32`.",
    # Processes
    "a worker process {reason}": "процесс обработки: {reason}",
    "the process that answers requests {reason}": "процесс, отвечающий на запросы: {reason}",
    "cannot be started: {reason}": "не запускается: {reason}",
    "ended with exit code {code}": "завершился с кодом {code}",
    "was killed by signal {signal}": "остановлен сигналом {signal}",
    "was stopped by somebody ({signal}) and did not go on": "кем-то приостановлен ({signal}) и не"
    " продолжил работу",
    "moved no frame and no byte for {seconds} s": "за {seconds} с не обработал ни кадра, ни байта",
    "closed its pipe": "закрыл свой канал связи",
    "sent what cannot be read ({error})": "прислал то, что нельзя прочесть ({error})",
    "{reason}, before it was ready": "{reason}, не начав работы",
    "{reason}, while it was free": "{reason} между задачами",
    # Status files
    "something went wrong that nobody foresaw: {reason}; see the log": "непредвиденная ошибка:"
    " {reason}; смотрите журнал",
    "{path} has not answered for {seconds} s; bring it back": "{path} не отвечает {seconds} с;"
    " восстановите доступ",
    "{count} cannot be written: {reason}": "не записать {count}: {reason}",
    # daemon/retention.py
    "{path} is not there; nothing below it was removed.": "{path} не найдена; в ней ничего не"
    " удалено.",
    "{what} could not be removed: {reason} ({path}).": "Не удалось удалить {what}: {reason}"
    " ({path}).",
    "{what} could not be removed: {reason}.": "Не удалось удалить {what}: {reason}.",
    "{count} more could not be removed.": "Не удалось удалить ещё {count}.",
    "the originals in {path}": "исходные видео в {path}",
    "the files of task {task_id}": "файлы задачи {task_id}",
    "the original of task {task_id}": "исходное видео задачи {task_id}",
    "what is left over in {path}": "остатки в {path}",
    "the left-over {path}": "остаток {path}",
    "task {task_id}": "задачу {task_id}",
    # Why a file is no video: what stands behind its name
    "cannot be read: {reason}.": "не читается: {reason}.",
    "may not be read: {reason}.": "нельзя прочесть: {reason}.",
    "is empty; copy it again.": "пуст; скопируйте его заново.",
    "ends before its index; copy it again.": "обрывается раньше своего указателя; скопируйте его"
    " заново.",
    "is not a video we can read; check that it plays, or convert it to MP4.": "не читается как"
    " видео; проверьте, что он воспроизводится, или преобразуйте его в MP4.",
    "is encrypted; decrypt it first.": "зашифрован; сначала расшифруйте его.",
    "is a still picture, not a video.": "это неподвижное изображение, а не видео.",
    "has sound but no moving picture; it cannot be protected.": "содержит звук, но не"
    " видеоизображение; защитить его нельзя.",
    "holds a camera's sensor data (raw), which each program develops in its own way; develop it and"
    " export a video first.": "содержит необработанные данные матрицы камеры, которые каждая"
    " программа проявляет по-своему; проявите их и сначала сохраните как видео.",
    "holds no video we can decode; it cannot be protected.": "не содержит видео, которое можно"
    " декодировать; защитить его нельзя.",
    "breaks off before its first frame.": "обрывается раньше первого кадра.",
    "has no frame that can be decoded ({codec}); it is damaged or empty.": "не содержит кадров,"
    " которые можно декодировать ({codec}); он повреждён или пуст.",
    "has no frame that can be decoded.": "не содержит кадров, которые можно декодировать.",
    "has {count} streams; at most {most} are allowed (limits.max_streams).": "содержит потоков:"
    " {count}; допустимо не больше {most} (limits.max_streams).",
    "is {size}, {count} pixels; at most {most} are allowed (limits.max_pixels).": "имеет размер"
    " {size}, {count} точек; допустимо не больше {most} (limits.max_pixels).",
    "lasts {hours} hours; at most {most} are allowed (limits.max_duration_h).": "длится {hours} ч;"
    " допустимо не больше {most} (limits.max_duration_h).",
    "has {count} frames a second; at most {most} are allowed (limits.max_fps).": "содержит {count}"
    " кадров в секунду; допустимо не больше {most} (limits.max_fps).",
    "is Dolby Vision without a compatible base layer (profile 5); its colours would be wrong."
    " Convert it to HDR10 or SDR first.": "это Dolby Vision без совместимого базового слоя (профиль"
    " 5); цвета были бы неверны. Сначала преобразуйте его в HDR10 или SDR.",
    "needs more memory than limits.worker_memory_gb allows.": "требует больше памяти, чем"
    " позволяет limits.worker_memory_gb.",
    "is damaged ({kind}); check that it plays.": "повреждён ({kind}); проверьте, что он"
    " воспроизводится.",
    "could not be looked at in time, or ended the process that tried; it is damaged.": "повреждён:"
    " его не удалось просмотреть вовремя, или проверявший процесс завершился.",
    "finding it took too long, or ended the process that tried.": "на его поиск ушло слишком"
    " много времени, или искавший процесс завершился.",
    # Why a form is none
    "no boundary": "нет boundary",
    "a part is encoded, send it without Content-Transfer-Encoding": "часть закодирована,"
    " отправьте её без Content-Transfer-Encoding",
    "Invalid characters in boundary": "недопустимые знаки в boundary",
    "Boundary not found in first chunk": "boundary не найден в начале",
    "Invalid line break after first boundary": "неверный перевод строки после первого boundary",
    "Unexpected byte after first boundary": "лишний байт после первого boundary",
    "Unexpected bytes after boundary": "лишние байты после boundary",
    "Invalid line break in segment header": "неверный перевод строки в заголовке части",
    "Segment header failed to decode": "заголовок части не в UTF-8",
    "Malformed segment header": "неверный заголовок части",
    "Invalid segment header name": "неверное имя заголовка части",
    "Missing Content-Disposition segment header": "у части нет Content-Disposition",
    "Invalid Content-Disposition segment header: Wrong type": "неверный Content-Disposition части",
    "Maximum segment count exceeded": "слишком много частей",
    "Maximum segment header count exceeded": "слишком много заголовков части",
    "Maximum segment header length exceeded": "слишком длинный заголовок части",
    "Multiple segment Content-Length headers": "у части несколько Content-Length",
    "Invalid segment Content-Length header value": "неверный Content-Length части",
    "Segment Content-Length exceeded": "часть длиннее своего Content-Length",
    "Segment size does not match Content-Length header": "размер части не совпадает с её"
    " Content-Length",
    "Unexpected byte in front of first boundary": "лишний байт перед первым boundary",
    # What systems say
    "No such file or directory": "нет такого файла или папки",
    "Permission denied": "нет прав",
    "Operation not permitted": "действие не разрешено",
    "Not a directory": "это не папка",
    "Is a directory": "это папка",
    "Directory not empty": "папка не пуста",
    "Read-only file system": "файловая система доступна только для чтения",
    "No space left on device": "на диске нет места",
    "Disk quota exceeded": "превышена квота диска",
    "Input/output error": "ошибка ввода-вывода",
    "Stale file handle": "папка на сервере больше не та",
    "Transport endpoint is not connected": "нет соединения с сервером папки",
    "Host is down": "сервер папки выключен",
    "No route to host": "нет пути к серверу папки",
    "Connection timed out": "сервер папки не отвечает",
    "[Errno {number}] {reason}: {path}": "{reason}: {path}",
    "Too many open files": "открыто слишком много файлов",
    "Cannot allocate memory": "не хватает памяти",
    "Resource temporarily unavailable": "ресурс сейчас недоступен",
}


def translated(sentence: str, language: Language) -> str:
    """Return an English sentence in a language."""
    if language == "en":
        return sentence
    part, colon, reason = sentence.partition(": ")
    russian = _russian(part, PARTS) if colon else None
    if russian is not None:
        return f"{russian}: {_in_russian(reason)}"
    return _in_russian(sentence)


def translated_part(part: str, language: Language) -> str:
    """Return in a language what a part of the service is called."""
    return part if language == "en" else _russian(part, PARTS) or part


def _in_russian(sentence: str) -> str:
    return _said(sentence) or _UNKNOWN.format(sentence=sentence)


def _said(sentence: str) -> str | None:
    russian = _russian(sentence, SENTENCES)
    if russian is not None:
        return russian
    path, _, reason = sentence.rpartition(": ")  # as systems say it
    said = _russian(reason, SENTENCES) if path else None
    return f"{path}: {said}" if said else None


def _russian(english: str, catalogue: Mapping[str, str]) -> str | None:
    for pattern, russian in _patterns(tuple(catalogue.items())):
        found = pattern.fullmatch(english)
        if found:
            facts = {
                name: (_said(value) if name in _SAID else None) or value
                for name, value in found.groupdict().items()
            }
            return russian.format_map(facts)
    return None


@cache
def _patterns(catalogue: tuple[tuple[str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    """Return how each English text reads, those with the most words of their own first."""
    by_words = sorted(catalogue, key=lambda pair: len(_FACT.sub("", pair[0])), reverse=True)
    return [(_pattern(english), russian) for english, russian in by_words]


def _pattern(english: str) -> re.Pattern[str]:
    words_and_facts = enumerate(_FACT.split(english))  # in turn
    pieces = (f"(?P<{text}>.+)" if n % 2 else re.escape(text) for n, text in words_and_facts)
    return re.compile("".join(pieces), re.DOTALL)
