"""Which language a text is in, told by its letters and its commonest words: enough to leave out rows, not to study it.

    language("Wie spät ist es in der Stadt, und wo ist der Bahnhof?")    # "de"

Text in letters that are not Latin is of its script (`cyrillic`). A text with too few of the words, such as a name or a
sum, is of none: None.
"""

import re
import unicodedata
from collections import Counter

WORDS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "de": "der die das und ist nicht ein eine einen den dem des zu mit auf für im ich sie es von wie was wird sind "
        "auch als bei nach aus oder dass werden wurde",
        "en": "the of and to is that it for was with as his he on be at by this had not are but from or have an they "
        "which you were her she their what when how your can will",
        "es": "el los las y que del se por con para una su al lo como más pero sus le ya este porque esta cuando "
        "muy sin sobre también hay es son está qué",
        "fr": "le les et des du une que est dans qui pour pas sur au plus ce il elle avec sont par mais ou vous nous "
        "être cette ont aux je leur c'est",
        "it": "il di che è la per un non sono una con del della dei gli le nel alla si da anche come più ma questo "
        "essere ha cosa delle lo",
        "nl": "de het een van en is dat op te zijn met voor niet aan er om ook als dan maar bij door naar uit wordt "
        "deze heeft werd hoe wat",
        "pt": "o os e que do da em um uma para com não se na por mais as dos como mas ao ele das à seu sua ou quando "
        "muito nos já também é são está",
    }.items()
}
"""The commonest words of each language that is told apart."""
LEAST = 2
"""Different words of a language that a text must have to be in it."""
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def language(text: str) -> str | None:
    """The name of the language (a key of `WORDS`) or of the script, in small letters; None: it cannot be told."""
    words = [word.replace("’", "'") for word in _WORD.findall(text.lower())]
    scripts = Counter(_script(letter) for word in words for letter in word if letter.isalpha())
    if not scripts:
        return None
    script, _ = max(sorted(scripts.items()), key=lambda item: item[1])
    if script != "latin":
        return script
    hits = {name: len(common.intersection(words)) for name, common in WORDS.items()}
    best = max(hits.values())
    found = [name for name, count in hits.items() if count == best]
    return found[0] if best >= LEAST and len(found) == 1 else None


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "unknown")
    return name.partition(" ")[0].partition("-")[0].lower()
