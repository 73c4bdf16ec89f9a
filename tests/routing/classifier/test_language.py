"""The gateway detects the language of a text from a few words; an unclear language is unknown."""

# ruff: noqa: RUF001 -- scripts of many languages

from itertools import cycle, islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing.classifier import language as room
from gateway.routing.classifier.language import detect_from_signs, detect_language
from gateway.routing.classifier.text_signals import TextScan
from gateway.settings.schema.rules import LANGUAGES

TEXTS = [
    ("en", "Write a short poem about the sea."),
    ("en", "How do I undo my last commit?"),
    ("en", "Thanks, that was it!"),
    ("en", "Sorting numbers quickly"),
    ("en", "Why is the café closed?"),
    ("de", "Wie komme ich am schnellsten nach Hause?"),
    ("de", "Schreibe bitte einen Brief an die Bank."),
    ("de", "Was kostet der Kuchen?"),
    ("de", "Größe der Wohnung"),
    ("de", "Erkläre mir den Unterschied zwischen TCP und UDP"),
    ("fr", "Pourquoi le ciel est-il bleu ?"),
    ("fr", "Écris une lettre à ma banque, s'il te plaît."),
    ("fr", "Où est la gare ?"),
    ("fr", "Quelle heure est-il"),
    ("es", "¿Por qué el cielo es azul?"),
    ("es", "Escribe una carta a mi banco, por favor."),
    ("es", "Necesito ayuda con los deberes"),
    ("pt", "Por que o céu é azul?"),
    ("pt", "Escreva uma carta ao meu banco, por favor."),
    ("pt", "Não sei como fazer isso"),
    ("it", "Perché il cielo è blu?"),
    ("it", "Scrivi una lettera alla mia banca, per favore."),
    ("it", "Dove sono gli studenti della scuola"),
    ("nl", "Waarom is de lucht blauw?"),
    ("nl", "Schrijf een brief aan mijn bank, alsjeblieft."),
    ("nl", "Wat is het verschil tussen deze twee woorden?"),
    ("pl", "Dlaczego niebo jest niebieskie?"),
    ("pl", "Napisz list do mojego banku, proszę."),
    ("pl", "Jak ugotować zupę z pomidorów"),
    ("ru", "Почему небо голубое?"),
    ("ru", "Напиши, пожалуйста, письмо в мой банк."),
    ("ru", "Расскажи о городах"),
    ("uk", "Чому небо блакитне і як це пояснити?"),
    ("uk", "Напиши, будь ласка, листа до мого банку."),
    ("uk", "Що нового у вашому місті"),
    ("zh", "天空为什么是蓝色的？"),
    ("zh", "請寫一封信給我的銀行。"),
    ("zh", "用 Python 写一个排序函数"),
    ("zh", "「カ」这个字怎么读，它是什么意思"),
    ("ja", "空はなぜ青いのですか。"),
    ("ja", "銀行への手紙を書いてください。"),
    ("ja", "Python でソート関数を書いて"),
    ("ko", "하늘은 왜 파란가요?"),
    ("ko", "은행에 보낼 편지를 써 주세요."),
    ("ar", "لماذا السماء زرقاء؟"),
    ("ar", "اكتب رسالة إلى البنك من فضلك"),
    ("hi", "आसमान नीला क्यों है?"),
    ("hi", "कृपया मेरे बैंक को एक पत्र लिखें।"),
    ("tr", "Gökyüzü neden mavi?"),
    ("tr", "Lütfen bankama bir mektup yaz."),
    ("tr", "Bu iki kelime arasındaki fark nedir"),
    # no word that shows the language
    ("unknown", ""),
    ("unknown", " \n\t"),
    ("unknown", "?!"),
    ("unknown", "42 + 17 = 59"),
    ("unknown", "asdfgh"),
    ("unknown", "Xanadu"),
    ("unknown", "Größ"[:2] + "x"),
    ("unknown", "Hallo"),  # German and Dutch
    ("unknown", "Прст"),
    ("unknown", "نان میخواهم و پنیر گرم"),  # Persian
    ("unknown", "میں اردو بولتا ہے"),  # Urdu
    ("unknown", "मला मराठी आणि हिंदी काय कसे"),  # Marathi
    ("unknown", "नम"),
    ("unknown", "Γιατί ο ουρανός είναι μπλε;"),
    ("unknown", "למה השמיים כחולים?"),
    ("unknown", "ทำไมท้องฟ้าถึงเป็นสีฟ้า"),
    ("unknown", "Hvorfor er himlen blå, og hvad er det?"),
    ("unknown", "Proč je nebe modré a co to není?"),
    ("unknown", "Miksi taivas on sininen ja mitä se on"),
    ("unknown", "Зашто је небо плаво и како се то пише"),
]


@pytest.mark.parametrize(("language", "text"), TEXTS)
def test_a_sentence_shows_its_language(language: str, text: str) -> None:
    assert detect_language(text) == language
    assert detect_language(text.upper()) == language or language in {
        "de",
        "tr",
    }  # ß and the dotless i
    assert detect_language(f"\n- {text}\n") == language


def test_every_language_of_the_configuration_is_detected() -> None:
    assert {language for language, _ in TEXTS} == set(LANGUAGES)


def test_a_request_before_or_after_pasted_text_shows_the_language() -> None:
    """The detector skips the middle of a long text, so the length costs nothing."""
    pasted = "0123456789 " * 100_000
    assert detect_language(f"Fasse bitte den Text zusammen und nenne die Quellen: {pasted}") == "de"
    assert detect_language(f"{pasted} Résume ce texte et donne les sources pour nous.") == "fr"
    assert detect_language(f"{pasted} wie und warum {pasted}") == "unknown"


def test_a_few_words_of_another_language_change_nothing() -> None:
    assert detect_language("Explain to me what Schadenfreude and der Zeitgeist are") == "en"
    assert detect_language("Что такое machine learning и как это работает") == "ru"
    assert detect_language("Explain the word 你好 to me, and how it is used") == "en"


def detect_by_points(text: str) -> str:
    """Detect the language of ASCII as defined: the points of each word, then those of endings."""
    ends = text if len(text) <= 360 else f"{text[:240]} {text[-120:]}"
    words = "".join(character if character.isalpha() else " " for character in ends.lower()).split()
    points = sum(room._POINTS_BY_WORD.get(word, 0) for word in words)
    return (
        room._choose_best(points) or room._choose_best(room._sum_ending_points(words)) or "unknown"
    )


WORDS = [word for word in room._POINTS_BY_WORD if word.isascii()]


@given(
    st.lists(st.sampled_from(WORDS), max_size=40),
    st.lists(
        st.sampled_from([" ", " ", " ", ", ", "\n", "4", "-", "", "'"]), min_size=1, max_size=7
    ),
    st.sampled_from([0, 0, 1, 5, 300, 700]),
)
@example(["the", "und", "der"], [" "], 0)
@example(["the", "a"], [""], 700)
@example(["if", "der"], ["\n"], 300)
def test_word_signs_and_points_give_the_same_language(
    words: list[str], between: list[str], wide: int
) -> None:
    """Signs from the shared scan give the same language as points, wherever a long text is cut."""
    text = "".join(part for pair in zip(words, cycle(between), strict=False) for part in pair)
    text = "".join(islice(cycle(text or " "), wide)) + text
    scan = TextScan(text)
    assert detect_language(text) == scan.language == detect_by_points(text)
    if scan.excerpt != text:  # lines that look like code are folded: their words are not read
        return
    signs = bytes(
        room.WORD_SIGNS.get(character, 0) for character in scan.tokens if character.isalpha()
    )
    assert (
        detect_from_signs(text.lower().encode(), signs) or detect_language(text)
    ) == detect_language(text)


@pytest.mark.parametrize("cut", range(24))
def test_a_long_text_may_be_cut_anywhere(cut: int) -> None:
    """The cut may be within a word, at its end, or between two words."""
    text = "the station, und der Bahnhof: " * 20 + "station " * 3
    text = text[cut : len(text) - cut]
    assert TextScan(text).language == detect_language(text) == detect_by_points(text)


def test_word_signs_fit_into_a_byte() -> None:
    assert 0 < min(room.WORD_SIGNS.values()) <= max(room.WORD_SIGNS.values()) < room.NO_SIGN
