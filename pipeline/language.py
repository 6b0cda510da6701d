"""
The language of a track, as players know it: a code, and none of the text that may stand there.

Matroska, Ogg and NUT take any words for it, and FFmpeg hands them on.

Source: RFC 5646 (BCP 47); ISO 639-1 and 639-2.
"""

from __future__ import annotations

import re

# Language of ISO 639, with script and region. Further parts are rare, and may be anybody's own.
_CODE = re.compile(
    r"([A-Za-z]{2,3}(?:-[A-Za-z]{3})?(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|\d{3}))?)(-.*)?"
)
_UNKNOWN = "und"
# Codes of two letters, each with the code of three for the same language.
_PAIRS = """
    aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul
    bibis bmbam bnben bobod brbre bsbos cacat ceche chcha cocos crcre csces cuchu cvchv cycym
    dadan dedeu dvdiv dzdzo eeewe elell eneng eoepo esspa etest eueus fafas ffful fifin fjfij
    fofao frfra fyfry gagle gdgla glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv hthat
    huhun hyhye hzher iaina idind ieile igibo iiiii ikipk ioido isisl itita iuiku jajpn jvjav
    kakat kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor kykir
    lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah mimri mkmkd mlmal mnmon
    mrmar msmsa mtmlt mymya nanau nbnob ndnde nenep ngndo nlnld nnnno nonor nrnbl nvnav nynya
    ococi ojoji omorm orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun roron rurus
    rwkin sasan scsrd sdsnd sesme sgsag sisin skslk slslv smsmo snsna sosom sqsqi srsrp ssssw
    stsot susun svswe swswa tatam tetel tgtgk ththa titir tktuk tltgl tntsn toton trtur tstso
    tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid yoyor
    zazha zhzho zuzul
"""
_THREE_LETTERS = {pair[:2]: pair[2:] for pair in _PAIRS.split()}


def language_code(text: str | None) -> str | None:
    """
    Return the code that a file's word for a language begins with; None where it is none.

    Of several, with commas between them, all are returned: MPEG-TS has one for each half of a
    track with another language on the left than on the right.
    """
    codes = [_CODE.fullmatch(word) for word in (text or "").split(",")]
    joined = ",".join(code[1] for code in codes if code)
    return joined if all(codes) and joined != _UNKNOWN else None


def is_language(text: str) -> bool:
    """Whether a text is such a code alone, or the one for a language that is not known."""
    return text in ("", _UNKNOWN) or language_code(text) == text


def three_letters(code: str) -> str:
    """Return the first code of three letters, small ones, which is all that MP4 has room for."""
    language = re.split("[-,]", code)[0].lower()
    return _THREE_LETTERS.get(language, language)
