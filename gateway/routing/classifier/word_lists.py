"""Word lists of several languages, and the kind of each word."""

# ruff: noqa: RUF001 -- keywords of several languages and scripts, many to a line

from typing import Literal

type Kind = Literal[
    "proof", "reason", "build", "simple", "chat", "polite", "maths", "code", "counting"
]
KIND_CODES: dict[Kind, int] = {
    "proof": 1, "reason": 2, "build": 3, "simple": 4, "chat": 5, "polite": 6, "maths": 7, "code": 8,
    "counting": 9,
}  # fmt: skip
"""The byte for each kind: the gateway counts words as bytes."""
PROOF, REASON, BUILD, SIMPLE, CHAT, POLITE, MATHS, CODE, COUNTING = KIND_CODES.values()

# Whole words in lower case; a word has one kind.
_WORDS_BY_KIND: dict[Kind, str] = {
    "proof": """
        prove proves proved proving proven proof proofs disprove derive derives derived
        deriving derivation theorem lemma corollary induction contradiction counterexample
        beweise beweisen beweis zeige leite herleiten herleitung widerspruch induktion
        prouver prouve prouvez démontrer démontre démontrez preuve démonstration récurrence
        demuestra demostrar demuestre demostración prueba deduce deriva inducción
        докажи докажите доказать доказательство выведи выведите теорема индукции индукцией
    """,
    "reason": """
        why reason reasoning justify justification rigorous rigorously analyse analyze
        analysis analysing analyzing evaluate assess critique compare comparison contrast
        optimise optimize optimal optimising optimizing optimisation optimization minimise
        minimize maximise maximize plan planning strategy design designing architect
        architecture tradeoff tradeoffs refactor debug debugging diagnose investigate
        algorithm algorithms complexity concurrency concurrent deadlock distributed scalable
        invariant migrate migration implications infer deduction hypothesis
        warum weshalb begründe begründen analysiere analysieren vergleiche vergleichen
        optimiere optimieren optimale planen strategie entwirf entwerfe entwerfen
        architektur algorithmus untersuche bewerte
        pourquoi analyse analyser analysez comparer compare comparez optimiser optimisez
        optimal planifier concevoir conçois concevez stratégie algorithme évaluer évaluez
        justifier justifiez
        analiza analizar compara comparar optimiza optimizar óptimo planifica planificar
        diseña diseñar diseñe estrategia arquitectura algoritmo evalúa justifica razona
        почему проанализируй проанализируйте сравни сравните оптимизируй оптимизировать
        спланируй спроектируй спроектируйте разработай стратегию архитектуру алгоритм
        обоснуй обоснуйте оцени
    """,
    "build": """
        write writes implement implements create build generate develop compose draft
        schreibe schreib implementiere erstelle baue entwickle
        écris écrivez écrire implémente implémenter crée créer
        escribe escribir implementa implementar crea crear
        напиши напишите реализуй реализуйте создай создайте
    """,
    "simple": """
        translate translation define definition meaning synonym antonym spell spelling
        rewrite rephrase paraphrase summarise summarize summary shorten proofread grammar
        convert extract classify capitalise capitalize tl tldr
        übersetze übersetzen übersetzung definiere bedeutet fasse zusammenfassung korrigiere
        umschreiben formuliere
        traduis traduire traduisez traduction définis définition résume résumer résumez
        corrige corrigez reformule
        traduce traducir traducción define definición resume resumir resumen corrige
        reescribe
        переведи переведите перевод определение перескажи кратко исправь перепиши
        перефразируй
    """,
    "chat": """
        hi hello hey hiya yo howdy greetings thanks thank thx cheers bye goodbye goodnight
        welcome congrats congratulations sorry
        hallo servus moin danke dankeschön tschüss tschüß grüezi
        bonjour salut merci bonsoir coucou
        hola gracias adiós buenos buenas olá obrigado obrigada ciao grazie
        привет здравствуйте здравствуй спасибо пока
        안녕하세요 안녕 감사합니다
    """,
    "polite": """
        good morning afternoon evening night day how are you doing going today there so much
        very a lot nice to meet please ok okay great cool that was is it for your the help
        all again my friend have see later no problem perfect awesome everyone and i m am s
        what up really just wanted say
        guten morgen tag abend gute nacht wie geht es dir ihnen vielen schön für deine ihre
        hilfe auf wiedersehen
        ça va comment allez vous tu beaucoup pour votre ton aide au revoir bonne journée
        nuit
        cómo estás está tal muchas por tu su ayuda días tardes noches hasta luego
        как дела большое добрый день доброе утро вечер за помощь у тебя вас
    """,
    "maths": """
        integral integrate derivative differentiate equation equations matrix matrices
        polynomial probability triangle angle angles prime primes integer integers modulo
        remainder divisible divisor vector eigenvalue eigenvalues fraction logarithm
        variance circumference hypotenuse perimeter radius diameter parabola hyperbola
        ellipse tangent cosine sine factorial permutation permutations combinations
        quadratic cubic isomorphic isomorphism homomorphism bijection injective surjective
        convergent converges asymptotic continuous differentiable convex topology manifold
        subgroup abelian calculate compute solve simplify sqrt mathematics maths algebra
        geometry calculus arithmetic
        gleichung ableitung wahrscheinlichkeit dreieck winkel primzahl primzahlen berechne
        löse matrix
        équation dérivée intégrale probabilité angle entier calculer calculez résoudre
        résous matrice
        ecuación derivada integral probabilidad triángulo ángulo primo primos entero calcula
        resuelve matriz
        уравнение производную интеграл вероятность треугольник угол простых вычисли
        вычислите реши решите матрица
    """,
    "code": """
        code python javascript typescript java rust golang kotlin sql html css api function
        method bug regex program script compile compiler kubernetes docker database query
        json yaml thread threads recursion recursive array bash shell linux git unittest
        pytest segfault nullpointerexception typeerror keyerror exception async backend
        frontend endpoint schema postgres postgresql redis react django codebase repository
        funktion programm datenbank skript fonction programme función programa функцию
        функция программу код
    """,
}
WORD_KINDS: dict[str, int] = {
    word: KIND_CODES[kind] for kind, words in _WORDS_BY_KIND.items() for word in words.split()
}
"""The code of each word's kind."""
