"""
What a report calls the metadata of a video, and what its page calls it in Russian.

The words are those of `pipeline.metadata` and the walks that it makes, whose facts stand here in
braces. What they add in parentheses, such as `(©xyz)`, stays as it is. Where several fit, the
first counts.
"""

from __future__ import annotations

from collections.abc import Mapping

FINDINGS: Mapping[str, str] = {
    "more": "и другие",
    # What everybody knows
    "GPS position": "координаты GPS",
    "device make": "марка устройства",
    "device model": "модель устройства",
    "software": "программа",
    "encoder": "кодировщик",
    "title": "название",
    "artist": "автор",
    "date": "дата",
    "comment": "комментарий",
    "copyright": "авторские права",
    "description": "описание",
    "creation time": "время создания",
    "time code": "тайм-код",
    "file name": "имя файла",
    "track name": "название дорожки",
    "stream name": "название потока",
    "stream data": "данные потока",
    "attached picture": "вложенная картинка",
    "attached file": "вложенный файл",
    "chapter titles": "названия глав",
    "data track": "дорожка данных",
    "words in place of a language": "текст вместо языка",
    "spherical metadata's source": "программа, описавшая сферическое видео",
    # What has a name or a value of its own
    "handler name {name}": "имя обработчика {name}",
    "compressor name {name}": "имя кодека {name}",
    "the words {text}": "слова {text}",
    "encoder {name} in the codec's header": "кодировщик {name} в заголовке кодека",
    "tag {name} in the codec's header": "тег {name} в заголовке кодека",
    "tag DURATION that is no duration": "тег DURATION без длительности",
    "tag ALPHA_MODE that is no mode": "тег ALPHA_MODE с посторонним значением",
    "tag {name}": "тег {name}",
    # What only whoever knows the format knows
    "metadata box": "блок метаданных",
    "uuid box XMP": "блок uuid с XMP",
    "uuid box": "блок uuid",
    "ftyp holds more than brands": "посторонние данные в ftyp",
    "reference to a track of kind {kind}": "ссылка на дорожку вида {kind}",
    "data reference to another file": "ссылка на другой файл с данными",
    "vendor in a sample entry": "изготовитель в описании дорожки",
    "more than numbers in a {kind} box": "не только числа в блоке {kind}",
    "content in a {kind} box": "содержимое блока {kind}",
    "content in a Void element": "содержимое элемента Void",
    "content in a JUNK chunk": "содержимое фрагмента JUNK",
    "name of what lies beside the blocks": "имя данных рядом с блоками",
    "{count} bytes in the file that are no box": "байты вне блоков ({count})",
    "{count} bytes in {where} that are no box": "байты вне блоков в {where} ({count})",
    "{count} bytes that are no element": "байты вне элементов ({count})",
    "{count} bytes that are no chunk": "байты вне фрагментов ({count})",
    "box {kind} in the file": "блок {kind}",
    "box {kind} in {where}": "блок {kind} в {where}",
    "element {name}": "элемент {name}",
    "chunk {kind}": "фрагмент {kind}",
    "comment in the header of subtitles": "комментарий в заголовке субтитров",
    "a text in the header of subtitles": "текст в заголовке субтитров",
    "{name} in the header of subtitles": "{name} в заголовке субтитров",
    "user data in SEI": "данные пользователя в SEI",
    "{encoder} settings in SEI": "настройки {encoder} в SEI",
    "attachment track": "вложение",
    "{kind} track": "дорожка вида {kind}",
}
