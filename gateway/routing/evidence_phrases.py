"""Phrases of users who reject an answer, and of models that decline, in nine languages.

The lists are short, and their phrases hardly ever mean anything else. The code searches the start
of a text by whole words, and ignores punctuation between words.
"""

# ruff: noqa: RUF001 -- words of several languages and scripts, many to a line

import re
from collections.abc import Iterable

_COMPLAINTS = {
    "en": "that's wrong|that is wrong|this is wrong|it's wrong|that's incorrect|that is incorrect"
    "|that's not right|that is not right|that's not correct|that is not correct|that isn't right"
    "|that's still wrong|wrong answer|your answer is wrong|not what i asked|not what i meant"
    "|not what i wanted|didn't help|did not help|doesn't help|does not help|didn't work"
    "|did not work|doesn't work either|still fails|still failing|still broken|still wrong"
    "|still crashes|still not working|still doesn't work|still does not work|still the same error"
    "|still get the same error|still getting the same error|same error again|the same error as"
    " before|you didn't answer|you did not answer|you didn't fix|you did not fix",
    "de": "das ist falsch|das war falsch|das stimmt nicht|die antwort ist falsch|ist immer noch"
    " falsch|hat nicht geholfen|hat leider nicht geholfen|hilft mir nicht|hilft nicht weiter"
    "|geht immer noch nicht|funktioniert immer noch nicht|klappt immer noch nicht|funktioniert"
    " leider nicht|schlägt immer noch fehl|immer noch derselbe fehler|immer noch der gleiche fehler"
    "|danach habe ich nicht gefragt",
    "es": "eso está mal|esto está mal|la respuesta está mal|está equivocado|es incorrecto|no es"
    " correcto|no es lo que pedí|no es lo que pregunté|no me ayudó|no ayudó|no me sirvió"
    "|no funcionó|sigue sin funcionar|sigue fallando|todavía falla|todavía no funciona"
    "|el mismo error",
    "fr": "c'est faux|c'est incorrect|la réponse est fausse|ta réponse est fausse|votre réponse est"
    " fausse|ce n'est pas correct|ce n'est pas ce que j'ai demandé|ça ne marche toujours pas"
    "|ça ne fonctionne toujours pas|ça n'a pas marché|ça ne m'a pas aidé|ça ne m'aide pas"
    "|toujours la même erreur|échoue toujours",
    "pt": "isso está errado|está errado|a resposta está errada|não está certo|não está correto"
    "|não foi isso que pedi|não foi o que eu pedi|não ajudou|não funcionou|ainda não funciona"
    "|ainda falha|continua falhando|continua dando erro|o mesmo erro",
    "ru": "это неправильно|это неверно|ответ неправильный|ответ неверный|неправильный ответ"
    "|неверный ответ|это не то|не помогло|не сработало|всё ещё не работает|все еще не работает"
    "|по-прежнему не работает|всё равно не работает|все равно не работает|опять не работает"
    "|та же ошибка|та же самая ошибка",
    "ar": "هذا خطأ|هذا غير صحيح|الإجابة خاطئة|إجابتك خاطئة|الجواب خطأ|لم يساعدني|لم يساعد|لم ينفع"
    "|لم ينجح|لا يزال لا يعمل|ما زال لا يعمل|ما زال يفشل|نفس الخطأ",
}
_UNSPACED_COMPLAINTS = {
    "ja": "間違っています|それは違います|それは違う|答えが違|まだ動かない|まだ動きません"
    "|まだ失敗|まだエラー|まだ同じエラー|同じエラーが出|解決しません|解決しなかった|役に立たない"
    "|うまくいきません|うまくいかなかった",
    "zh": "你错了|答案不对|答案是错的|回答不对|这不对|这是错的|不正确|还是不行|还是不对|还是失败"
    "|还是报错|还是错|仍然失败|仍然报错|仍然不行|依然报错"
    "|没有用|没有帮助|没解决|没有解决|同样的错误|不是我要的|不是我问的",
}
_REFUSALS = {
    "en": "sorry, but i can't|sorry, but i cannot|sorry, i can't|sorry, i cannot"
    "|i'm afraid i can't|i can't help with|i cannot help with|i can't assist|i cannot assist"
    "|i can't do that|i cannot do that|i can't comply|i cannot comply|i can't provide|i cannot"
    " provide|i can't fulfill|i cannot fulfill|i won't be able to help|i'm unable to help|i'm"
    " unable to assist|i'm not able to help|i am unable to|i must decline",
    "de": "kann ich nicht helfen|kann ich dir nicht helfen|kann ich ihnen nicht helfen|ich kann"
    " dabei nicht helfen|ich kann dir dabei nicht helfen|ich kann ihnen dabei nicht helfen|das"
    " kann ich nicht tun|dieser bitte kann ich nicht",
    "es": "lo siento, pero no puedo|lo siento, no puedo|no puedo ayudarte con|no puedo ayudarle con"
    "|no puedo ayudar con eso",
    "fr": "désolé, mais je ne peux pas|désolée, mais je ne peux pas|désolé, je ne peux pas"
    "|je ne peux pas vous aider|je ne peux pas t'aider|je ne suis pas en mesure de",
    "pt": "desculpe, mas não posso|desculpe, não posso|sinto muito, mas não posso|não posso ajudar"
    " com|não posso te ajudar com",
    "ru": "к сожалению, я не могу|извините, но я не могу|извините, я не могу|простите, но я не могу"
    "|не могу помочь с этим|я не могу вам помочь|не могу выполнить эту просьбу",
    "ar": "لا أستطيع مساعدتك|لا يمكنني مساعدتك|لا أستطيع المساعدة|لا يمكنني المساعدة"
    "|لا يمكنني تقديم",
}
_UNSPACED_REFUSALS = {
    "ja": "お手伝いできません|お答えできません|お応えできません|対応できません"
    "|ご要望には|応じられません",
    "zh": "我不能帮|我无法帮|我不能提供|我无法提供|我不能协助"
    "|我无法协助|无法满足你|无法满足您|不能满足|无法回答这",
}
_MORE = (
    "another|next|more|continue|weiter|noch|nächste|nächster|otro|otra|más|siguiente|encore|autre"
    "|suivant|outro|outra|mais|próximo|ещё|еще|другой|следующий|المزيد|التالي"
)
_UNSPACED_MORE = "もっと|次|別の|続け|再来|下一|更多|继续|另"


def _list_phrases(spaced: Iterable[str], unspaced: Iterable[str]) -> tuple[str, ...]:
    """List phrases for a search in a text of words; those of spaced scripts as whole words."""
    return (
        *(_join_words(phrase) for text in spaced for phrase in text.split("|")),
        *(phrase for text in unspaced for phrase in text.split("|")),
    )


def _join_words(text: str) -> str:
    """Return the words of a text in lower case, with a space around each."""
    straight_text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return f" {' '.join(_WORD_PATTERN.findall(straight_text))} "


_WORD_PATTERN = re.compile(r"[\w']+")
_COMPLAINT_PHRASES = _list_phrases(_COMPLAINTS.values(), _UNSPACED_COMPLAINTS.values())
_REFUSAL_PHRASES = _list_phrases(_REFUSALS.values(), _UNSPACED_REFUSALS.values())
_MORE_PHRASES = _list_phrases([_MORE], [_UNSPACED_MORE])
_MAX_CHARS = 200
"""The number of characters at the start of a text to search for phrases."""


def is_complaint(text: str) -> bool:
    """True if a user says that the answer was bad."""
    return _has_phrase(text, _COMPLAINT_PHRASES)


def is_refusal(text: str) -> bool:
    """True if a model declines to do what the user asked."""
    return _has_phrase(text, _REFUSAL_PHRASES)


def asks_for_more(text: str) -> bool:
    """True if a user accepts the answer and asks for another one."""
    return _has_phrase(text, _MORE_PHRASES)


def _has_phrase(text: str, phrases: tuple[str, ...]) -> bool:
    words = _join_words(text[:_MAX_CHARS])
    return any([phrase in words for phrase in phrases])  # noqa: C419 - a list is faster here
