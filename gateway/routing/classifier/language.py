"""The language of a text, by its script and by the small words that are frequent in each language.

The guess is quick: it reads at most 360 characters, and returns `unknown` if the language is not
clear.
"""

# ruff: noqa: RUF001 -- words of several languages and scripts, many to a line

import re
from collections.abc import Collection, Iterable
from itertools import repeat
from struct import Struct

from gateway.settings.schema.rules import LANGUAGES, Language

_HEAD_CHARS, _TAIL_CHARS = 240, 120
"""The number of characters to read at the start and at the end: a request stands at one end of
pasted text."""
_FULL_WEIGHT = 12
"""The points of a word that only one language has; a word of n languages gives each an nth."""
_MIN_POINTS = 12
"""The number of points that a language needs: one word of its own, or a few shared ones."""
_POINT_BITS = 16
"""The number of bits for one language's points. All languages share one integer, so that one
addition counts a word for all of them."""


def detect_language(text: str) -> Language:
    """Return the language of a text; `unknown` if it is not clear."""
    if len(text) > _HEAD_CHARS + _TAIL_CHARS:
        text = f"{text[:_HEAD_CHARS]} {text[-_TAIL_CHARS:]}"
    if text.isascii():
        words = text.lower().encode().translate(_LETTER_TABLE).split()
        language = _choose_from_signs(bytes(map(WORD_SIGNS.get, words, _ZEROS)))
        return (
            language
            or _choose_best(_sum_ending_points(word.decode() for word in words))
            or "unknown"
        )
    lower_text = text.lower()
    script = _detect_by_script(lower_text)
    if script is not None:
        return script
    all_words = _WORD_PATTERN.findall(lower_text)
    points = _sum_word_points(all_words) + sum(
        map(_LETTER_POINTS, _MARKED_LATIN_LETTER.findall(lower_text), _ZEROS)
    )
    return _choose_best(points) or _choose_best(points + _sum_ending_points(all_words)) or "unknown"


def detect_from_signs(lower_text: bytes, words: bytes) -> Language | None:
    """Return what `detect_language` does, for ASCII text in lower case; None if unclear.

    `words` has the sign of each word in order. If the result is None, call `detect_language`.
    """
    return _choose_from_signs(
        words
        if len(lower_text) <= _HEAD_CHARS + _TAIL_CHARS
        else _select_end_signs(lower_text, words)
    )


def _select_end_signs(lower_text: bytes, words: bytes) -> bytes:
    """Return the signs of the words in both ends of the text.

    A cut word counts as the piece left of it.
    """
    head = lower_text[: _HEAD_CHARS + 1].translate(_LETTER_SHAPE_TABLE)
    tail_text = lower_text[-_TAIL_CHARS - 1 :]  # with the character before the tail
    tail = tail_text.translate(_LETTER_SHAPE_TABLE)
    head_words = head.count(b" a", 0, _HEAD_CHARS) + head.startswith(b"a")
    tail_words = tail.count(b" a")
    cut_words = []
    if head.endswith(b"aa"):
        head_words -= 1
        cut_words.append(lower_text[head.rfind(b" ") + 1 : _HEAD_CHARS])
    if tail.startswith(b"aa"):
        tail_word_end = tail.find(b" ")
        cut_words.append(tail_text[1 : tail_word_end if tail_word_end > 0 else None])
    cut_word_signs = bytes([WORD_SIGNS.get(word, 0) for word in cut_words])
    return words[:head_words] + words[len(words) - tail_words :] + cut_word_signs


def _choose_from_signs(words: bytes) -> Language | None:
    """Return the language by the signs of some words; None if it is not clear."""
    signs = words.translate(None, b"\0")
    if 2 * signs.count(_ENGLISH_SIGN) > len(signs):
        # Each of these words gives English the most points a word can give. No other word gives
        # another language more.
        return "en"
    return _choose_best(sum([_POINTS_BY_SIGN[sign] * signs.count(sign) for sign in {*signs}]))


def _sum_word_points(words: Iterable[str]) -> int:
    return sum(filter(None, map(_WORD_POINTS, words)))


def _choose_best(points: int) -> Language | None:
    """Return the language with the most points; None if they are too few or two languages tie."""
    if not points:
        return None
    language_points = _UNPACK_POINTS(points.to_bytes(_WIDTH, "little"))
    max_points = max(language_points)
    if max_points < _MIN_POINTS or language_points.count(max_points) > 1:
        return None
    language = LANGUAGES[language_points.index(max_points)]
    return None if language == "unknown" else language


def _sum_ending_points(words: Iterable[str]) -> int:
    return sum(
        points for word in words for ending, points in _ENDING_POINTS if word.endswith(ending)
    )


def _detect_by_script(lower_text: str) -> Language | None:
    """Return the language of the script with the most letters; None for Latin."""
    letter_counts = {
        name: sum(map(len, pattern.findall(lower_text))) for name, pattern in _SCRIPTS.items()
    }
    # One character of these scripts counts as about three letters.
    letter_counts["han"], letter_counts["kana"], letter_counts["hangul"] = (
        3 * letter_counts[name] for name in ("han", "kana", "hangul")
    )
    east_asian = letter_counts["han"] + letter_counts["kana"]
    dominant = max(
        (east_asian, "east"),
        *((letter_counts[name], name) for name in _SCRIPTS if name not in _EAST_ASIAN_SCRIPTS),
    )
    match dominant[1] if dominant[0] else "":
        case "east":
            # Chinese has no kana. A name or a quoted word in kana does not make a text Japanese.
            return "ja" if 8 * letter_counts["kana"] > letter_counts["han"] else "zh"
        case "hangul":
            return "ko"
        case "arabic":
            return "unknown" if _PERSIAN_LETTER.search(lower_text) else "ar"
        case "devanagari":
            return _choose_best(_sum_word_points(_DEVANAGARI.findall(lower_text))) or "unknown"
        case "cyrillic":
            return _detect_cyrillic(lower_text)
        case "other":
            return "unknown"
    return None


def _detect_cyrillic(lower_text: str) -> Language:
    points = _sum_word_points(_WORD_PATTERN.findall(lower_text)) + sum(
        map(_LETTER_POINTS, _MARKED_CYRILLIC_LETTER.findall(lower_text), _ZEROS)
    )
    return _choose_best(points) or "unknown"


def _make_points(languages: Collection[Language]) -> int:
    """Return what a sign of these languages adds to the points of each."""
    share = _FULL_WEIGHT // len(languages)
    return sum(share << _SHIFTS[LANGUAGES.index(name)] for name in languages)


_SHIFTS = range(0, _POINT_BITS * len(LANGUAGES), _POINT_BITS)
_WIDTH = _POINT_BITS * len(LANGUAGES) // 8
_UNPACK_POINTS = Struct(f"<{len(LANGUAGES)}H").unpack
_ZEROS = repeat(0)
_WORD_PATTERN = re.compile(r"[^\W\d_]+")
_LETTER_SHAPE_TABLE = bytes(
    97 if byte in b"abcdefghijklmnopqrstuvwxyz" else 32 for byte in range(256)
)
_LETTER_TABLE = bytes(byte if byte in b"abcdefghijklmnopqrstuvwxyz" else 32 for byte in range(256))
_SCRIPTS = {
    "latin": re.compile("[a-z\u00df-\u024f]+"),
    "cyrillic": re.compile("[\u0400-\u052f]+"),
    "han": re.compile("[\u3400-\u9fff]+"),
    "kana": re.compile("[\u3041-\u30ff]+"),
    "hangul": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]+"),
    "arabic": re.compile("[\u0620-\u064a\u066e-\u06d3]+"),
    "devanagari": re.compile("[\u0900-\u097f]+"),
    "other": re.compile("[\u0370-\u03ff\u0530-\u05ff\u0980-\u10ff\u1200-\u1dbf]+"),
}
_EAST_ASIAN_SCRIPTS = ("han", "kana")
_DEVANAGARI = re.compile("[\u0900-\u097f]+")
_PERSIAN_LETTER = re.compile("[پچژگڈٹںے]|ی\\b")

_MARKED_LATIN_LETTER = re.compile("[ßäöüñ¿¡ãõçğışąęłżźćśńěřůőűåøæđơưșțœêëîïâôùûìòáéíóúàè]")
_MARKED_CYRILLIC_LETTER = re.compile("[ыэёіїєґўћђјљњџќѓѕ]")
_LANGUAGES_BY_LETTERS: tuple[tuple[str, tuple[Language, ...]], ...] = (
    ("ß", ("de",)),
    ("ä", ("de", "unknown")),
    ("öü", ("de", "tr")),
    ("ñ¿¡", ("es",)),
    ("ã", ("pt",)),
    ("õ", ("pt", "unknown")),
    ("ç", ("fr", "pt", "tr")),
    ("ğış", ("tr",)),
    ("ąęłżźćśń", ("pl",)),
    ("ěřůőűåøæđơưșț", ("unknown",)),
    ("œùûëîï", ("fr",)),
    ("êô", ("fr", "pt")),
    ("â", ("fr", "pt", "tr")),
    ("ìò", ("it",)),
    ("à", ("fr", "it", "pt")),
    ("è", ("fr", "it")),
    ("é", ("fr", "es", "pt")),
    ("áíú", ("es", "pt")),
    ("ó", ("es", "pt", "pl")),
    ("ыэё", ("ru",)),
    ("іїєґ", ("uk",)),
    ("ўћђјљњџќѓѕ", ("unknown",)),
)
_LETTER_POINTS = {
    letter: _make_points(kind) for letters, kind in _LANGUAGES_BY_LETTERS for letter in letters
}.get

_WORDS_BY_LANGUAGE: dict[Language, str] = {
    "en": """
        the a an of and to in is are was were be been it its this that these those for with on as
        at by from or not but if then than when where which who what why how do does did can could
        should would will have has had i you he she we they my your our their me him them us about
        into over under between there here all any some each more most other such no only own same
        so too very just also because while after before both few through during please write
        explain give make tell show find compare summarize summarise describe translate create
        implement design build fix review prove using without vs hello hi hey thanks thank you're
        don't what's let's need want help good morning yes list name difference steps code
        function derive define brainstorm ways methods way explain calculate solve convert provide
        generate
    """,
    "de": """
        der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine
        ist sind war waren wird werden wurde hat haben hatte ich du er sie es wir ihr mich mir
        dich dir ihm ihn uns euch mein meine dein sein ihre unser auf aus bei bis durch für gegen
        in im mit nach ohne über um unter von vom vor zu zum zur zwischen an am als wie wenn weil
        dass ob was wer wo wann warum welche welcher welches man sich auch nur noch schon sehr
        bitte schreibe schreib erkläre erklär beschreibe vergleiche entwirf entwerfe erstelle
        implementiere übersetze fasse nenne zeige beweise berechne löse gib mache kannst können
        soll sollte hallo guten danke tag morgen diese dieser dieses diesem diesen alle mehr zwei
        drei ja nein beim ins überprüfe analysiere korrigiere formuliere optimiere leite bedeutet
        welchen eingabe verwende verwendet verwenden bewerte plane schlage entwickle wieviel viele
        viel
    """,
    "fr": """
        le la les un une des du de et ou mais ne pas est sont était être avoir a ai as ont
        je tu il elle on nous vous ils elles me te se mon ma mes ton ta tes son sa ses notre
        votre leur leurs ce cet cette ces qui que quoi dont où quand comment pourquoi quel quelle
        quels quelles dans sur sous avec sans pour par entre vers chez en au aux comme si plus
        moins très aussi tout tous toute toutes qu même fait faire peut peux bonjour
        merci salut écris écrivez explique expliquez décris compare comparez conçois crée
        implémente traduis traduisez résume montre donne calcule résous démontre prouve vérifie
        utilise utilisant analyse quelles voici entre deux trois oui non corrige reformule
        propose combien trouve optimise quelques votre
    """,
    "es": """
        el la los las un una unos unas de del al y e o u pero no es son era ser está están estar
        ha han haber hay yo tú él ella nosotros ellos me te se mi mis tu tus su sus nuestro este
        esta estos estas ese esa eso aquello que qué quien quién cual cuál cuando cuándo como
        cómo donde dónde por para con sin sobre entre hasta desde en si más menos muy también
        todo todos toda todas lo le les ya hola gracias buenos buenas días escribe escribir
        explica describe compara diseña crea implementa traduce resume muestra dame calcula
        resuelve demuestra revisa usando usa analiza haz cuánto cuántos cuántas dos tres sí
        corrige reescribe optimiza encuentra una algoritmo función qué puedes quiero necesito
    """,
    "pt": """
        o a os as um uma uns umas de do da dos das no na nos nas ao aos à às e ou mas não é são
        era ser está estão estar tem têm há eu tu ele ela nós eles você vocês me te se meu minha
        seu sua seus suas este esta isto esse essa isso que quem qual quais quando como onde por
        para com sem sobre entre até desde em se mais menos muito também todo todos toda todas
        lhe já pelo pela pelos pelas num numa olá oi obrigado obrigada bom dia escreva explique
        descreva compare projete crie implemente traduza resuma mostre calcule resolva prove
        revise usando use analise faça quanto quantos quantas dois duas três sim corrija
        otimize encontre função algoritmo porque por quê demonstre elabore verifique
    """,
    "it": """
        il lo la i gli le un uno una di del dello della dei degli delle al allo alla ai agli alle
        dal dalla dai nel nella nei nelle sul sulla sui e ed o ma non è sono era essere ha hanno
        avere io tu lui lei noi voi loro mi ti si ci vi mio mia tuo tua suo sua nostro questo
        questa questi queste quello quella che chi cosa quale quali quando come dove perché per
        con senza su tra fra fino da in se più meno molto anche tutto tutti tutta tutte ciao
        grazie buongiorno scrivi spiega descrivi confronta progetta crea implementa traduci
        riassumi mostra dammi calcola risolvi dimostra rivedi usando usa analizza fai quanto
        quanti due tre sì correggi ottimizza trova funzione qual dell all nell sull differenza
    """,
    "nl": """
        de het een en of maar niet geen is zijn was waren wordt worden werd heeft hebben had ik
        jij je u hij zij ze wij we jullie mij me jou hem haar ons hun mijn jouw uw onze dit dat
        deze die wat wie waar wanneer waarom hoe welke in op aan met van voor door over onder
        naar uit bij tot tussen zonder tegen om te als dan omdat ook nog al zeer veel meer alle
        er kan kun kunnen moet moeten zou schrijf leg uitleg beschrijf vergelijk ontwerp maak
        implementeer vertaal vat toon geef bereken los bewijs hallo hoi dank dankjewel bedankt
        goedemorgen goedendag alsjeblieft graag twee drie ja nee het verschil hoeveel samen
        verklaar controleer gebruik waarvoor
    """,
    "pl": """
        i w z na do nie że się jest są był była było być jak co kto gdzie kiedy dlaczego który
        która które którzy to ten ta te tego tej tym ale lub albo oraz dla od po przez przy pod
        nad przed między bez o u za czy jeśli gdy ja ty on ona my wy oni mi mnie ci mój twój jego
        jej ich nas was tak już tylko bardzo też także więcej wszystkie napisz wyjaśnij opisz
        porównaj zaprojektuj stwórz zaimplementuj przetłumacz podsumuj pokaż podaj oblicz
        rozwiąż udowodnij sprawdź używając cześć dzień dobry dziękuję proszę ile dwa trzy
        można jaka jaki jakie zrób popraw
    """,
    "tr": """
        bir ve ile bu şu o da de mi mı mu mü ne nasıl neden niçin kim nerede hangi için gibi kadar
        daha çok en var yok değil olan olarak ben sen biz siz onlar benim senin bana sana her tüm
        ama veya ya eğer ise sonra önce arasında arasındaki fark nedir nelerdir yaz yazın açıkla
        açıklayın anlat tasarla oluştur çevir özetle göster ver hesapla çöz kanıtla ispatla
        karşılaştır merhaba selam teşekkürler teşekkür ederim lütfen günaydın kaç iki üç evet
        hayır misin mısın kullanarak bul yap kodu
    """,
    "ru": """
        и в не на я быть он с что а по это она этот к но они мы весь который из у ты за от так о
        для все вы же как мне какой какая какие где когда почему кто чем при до или если бы мой
        его её их ещё уже только очень между без под над через также такое есть нет был была было
        были функция функцию напиши напишите объясни объясните опиши сравни спроектируй создай
        реализуй переведи покажи дай вычисли реши докажи докажите проверь используя привет
        здравствуйте спасибо пожалуйста сколько два три да нет разница составь предложи
        проанализируй разработай исправь найди оптимизируй можно нужно
    """,
    "uk": """
        і й в у не на я бути він з із що а по це вона цей до але вони ми який яка які де коли чому
        хто ти за від так про для все ви ж як мені при або якщо б мій його її їх ще вже тільки
        дуже між без під над через також є немає був була було були напиши напишіть поясни
        поясніть опиши порівняй створи реалізуй переклади покажи дай обчисли доведи перевір
        використовуючи привіт вітаю дякую прошу будь ласка скільки два три так ні різниця та
        склади чи
    """,
    "hi": """
        है हैं का की के में को से पर और क्या कैसे यह वह एक ने नहीं हो था थी थे कि जो तो भी ही
        क्यों कौन कहाँ कब मैं मुझे आप हम मेरा लिए करें करो कीजिए बताओ बताइए लिखो लिखें लिखिए
        समझाइए समझाओ नमस्ते धन्यवाद कृपया बीच अंतर इस उस अपने
    """,
    # Neighbours of the supported languages, listed so that the gateway can tell them apart as
    # `unknown`.
    "unknown": """
        och att det som är inte jag på av för med den till har om ett vad hur skriv hej tack
        og ikke jeg det er på av til hvad hva hvordan skriv hei
        ja on ei se että en kuin mitä miten kirjoita hei
        a je se na že jak co není jsou pro ve který napiš ahoj děkuji vysvětli implementuj jsem
        és egy nem hogy az van mi írj hogyan szia köszönöm
        și este nu că un o în pe cu din sau care ce cum scrie salut mulțumesc
        yang dan di ini itu dengan untuk tidak dari adalah apa bagaimana tulis
        là của và có không cho một những được trong
        i je u se na da za su koji što kako napiši
        и на е в да се не за са от какво как напиши обясни съм
        आहे आणि काय कसे मला नाही छ हुन्छ
        i el la és amb per què com una escriu
    """,
}
_LANGUAGES_BY_WORD: dict[str, tuple[Language, ...]] = {}
for _name, _list in _WORDS_BY_LANGUAGE.items():
    for _word in dict.fromkeys(_list.split()):
        _LANGUAGES_BY_WORD[_word] = (*_LANGUAGES_BY_WORD.get(_word, ()), _name)
_POINTS_BY_WORD = {word: _make_points(kind) for word, kind in _LANGUAGES_BY_WORD.items()}
_WORD_POINTS = _POINTS_BY_WORD.get
_POINTS_BY_SIGN = [
    0,
    *sorted({points for word, points in _POINTS_BY_WORD.items() if word.isascii()}),
]
"""The points of a word, by its sign. Index 0 is for a word that is in no list."""
WORD_SIGNS = {
    word.encode(): _POINTS_BY_SIGN.index(_POINTS_BY_WORD[word])
    for word in _POINTS_BY_WORD
    if word.isascii()
}
"""The sign of each listed ASCII word: a byte that stands for its points."""
NO_SIGN = 255
"""The byte in place of a sign for a token that is no word."""
NO_SIGN_BYTES = bytes((NO_SIGN,))
_ENGLISH_SIGN = _POINTS_BY_SIGN.index(_FULL_WEIGHT << _SHIFTS[LANGUAGES.index("en")])
"""The sign of a word that only English has."""
_LANGUAGE_POINTS_BY_SIGN = [
    _UNPACK_POINTS(points.to_bytes(_WIDTH, "little")) for points in _POINTS_BY_SIGN
]
"""The points of each language, by sign."""

_LANGUAGES_BY_ENDING: tuple[tuple[str, tuple[Language, ...]], ...] = (
    ("ing", ("en",)),
    ("ness", ("en",)),
    ("ity", ("en",)),
    ("ly", ("en",)),
    ("ed", ("en",)),
    ("tion", ("en", "fr")),
    ("ung", ("de",)),
    ("keit", ("de",)),
    ("lich", ("de",)),
    ("isch", ("de", "nl")),
    ("ité", ("fr",)),
    ("eur", ("fr",)),
    ("ique", ("fr",)),
    ("ción", ("es",)),
    ("dad", ("es",)),
    ("ção", ("pt",)),
    ("ções", ("pt",)),
    ("dade", ("pt",)),
    ("zione", ("it",)),
    ("ità", ("it",)),
    ("heid", ("nl",)),
    ("lijk", ("nl",)),
    ("ować", ("pl",)),
    ("anie", ("pl",)),
    ("yor", ("tr",)),
    ("lar", ("tr",)),
    ("ler", ("tr", "de")),
    ("ция", ("ru",)),
    ("ние", ("ru",)),
    ("ть", ("ru",)),
    ("ый", ("ru",)),
    ("ння", ("uk",)),
    ("ція", ("uk",)),
    ("ти", ("uk",)),
)
_ENDING_POINTS = [(ending, _make_points(kind)) for ending, kind in _LANGUAGES_BY_ENDING]
