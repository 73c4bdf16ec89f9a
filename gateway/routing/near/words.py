"""English words as the reading of a question takes them: which say nothing, which say the same.

What stands in no table says something of its own, and is compared letter by letter.
"""

# ruff: noqa: SIM905 -- words, many to a line

SILENT = frozenset("is are am was were of ,".split())
"""Words that carry grammar alone; the past, and who does it to whom, are kept apart."""
BE = frozenset("is are am was were be been being".split())
EMPTY = frozenset("really actually basically".split())
"""Words that may be left out."""
PAST = frozenset("did was were had caused".split())
OWN = frozenset({"my"})
"""Whose it is says nothing where somebody asks how something is done."""
TOOLS = frozenset(
    "python javascript js typescript java go rust ruby php swift kotlin scala perl bash powershell "
    "css html sql git linux ubuntu windows macos excel numpy pandas react vue django flask gimp "
    "photoshop docker kubernetes postgres mysql c# c++ r matlab sheets".split()
)
"""What something is done in, with, or by use of: all the same."""
OBJECTIVE = frozenset(
    "fear love hate hatred photo picture portrait image painting drawing knowledge criticism hope "
    "memory thought praise respect support abuse loss glass cup bottle box pack bag slice piece "
    "pair group number kind type sort".split()
)
"""What "of" follows without telling whose it is: fear of dogs is not the dogs' fear."""
BOUNDS = frozenset(
    "the a an in on at for with from to by and or is are was were do does did not than that which "
    "who my your our of 's using via into about as if when where how why what have has had will "
    "would can could should may might must before after without , ;".split()
)
"""Words at which what goes with "of" ends."""
CASED = frozenset(
    "it us who may march august polish turkey china apple amazon java python shell target gap "
    "oracle windows word excel access teams meta orange subway visa rose mark bill will frank jack "
    "rich jordan chad nice reading mobile bath cork cologne mercury saturn dove tide puma jaguar "
    "lincoln ford go swift rust ruby pearl crystal perl basic scratch ada julia dart elm spark "
    "kafka flask django chrome safari edge opera signal slack zoom discord steam unity blender "
    "flash square stripe block notion linear monday sunday so or and am pm mb gb kb tb mw kw ma "
    "guinea lima cuba mali oman japan aids ram rom led pin sat act can im id ok in on at is as be "
    "do he if me my no of to up we an earth sun moon mars god lord general major private king "
    "queen prince miss grace hope faith joy dawn eve iris lily violet olive ivy daisy sandy "
    "smith baker cook hunter fisher carter taylor mason potter bush rice brown white black green "
    "gray young long short wood stone field hill lake rivers waters banks wells woods fox wolf "
    "bird swan drake crane hawk bear bull bush case chase chance grant dean earl duke norm pat "
    "sue skip trip wade ward".split()
)
"""Words that are another word with a capital."""
UNSTEMMED = frozenset(
    "news physics glasses arms goods customs means thing nothing something anything everything "
    "king ring string spring morning evening ceiling sibling building meeting meaning painting "
    "wedding during species series mathematics politics economics ethics athletics always perhaps "
    "towards afterwards besides sometimes less across thus plus minus bus gas lens bias atlas "
    "canvas christmas texas paris always yes this his its as us was has does goes red bed "
    "hundred kindred sacred naked wicked rugged need speed seed feed weed indeed wed shed sled "
    "embed interested interesting wing sing bring swing sling sting cling bling lighting clothing "
    "housing heading heading setting settings savings earnings pants jeans scissors shorts stairs "
    "colors colours forces spirits looks manners minutes brains airs "
    "damages premises rights odds blues greens futures hives shingles arts ages contents remains "
    "grounds sales returns directions options values bonds talks works times thanks wages troops "
    "authorities proceeds belongings surroundings suds cramps chills shakes sweats ends stocks "
    "cards darts nuts beans oats measles mumps rabies rickets states nations scales tropics "
    "heavens outdoors sports games points terms facts needs papers notes woods lines cells".split()
)
"""Words that look like a form of another, and are words of their own."""
IRREGULAR = {
    one: base
    for line in (
        "write wrote written|win won|begin began begun|build built|buy bought|find found|"
        "make made making|take took taken|give gave given|go went gone goes|come came|get got "
        "gotten|see saw seen|know knew known|think thought|tell told|become became|leave left|"
        "feel felt|bring brought|keep kept|hold held|stand stood|hear heard|mean meant|meet met|"
        "pay paid|sit sat|speak spoke spoken|lie lay lain|lead led|grow grew grown|lose lost|"
        "fall fell fallen|send sent|fly flew flown flies|draw drew drawn|drive drove driven|"
        "break broke broken|eat ate eaten|choose chose chosen|teach taught|catch caught|"
        "sell sold|sink sank sunk|sing sang sung|rise rose risen|wear wore worn|die died dying|"
        "freeze froze frozen|use used using|steal stole stolen|fight fought|throw threw thrown|"
        "sleep slept"
    ).split("|")
    for base, *others in [line.split()]
    for one in others
}
"""Forms of verbs that no rule gives, and plain ones that a rule would miss."""
PRESENT = frozenset("making using dying goes flies".split())
"""Those of them that are not the past."""
PLURAL = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot",
    "teeth": "tooth", "mice": "mouse", "geese": "goose", "leaves": "leaf", "knives": "knife",
    "wives": "wife", "lives": "live", "wolves": "wolf", "loaves": "loaf", "shelves": "shelf",
    "heroes": "hero", "potatoes": "potato", "tomatoes": "tomato", "indices": "index",
    "vertices": "vertex", "criteria": "criterion", "movies": "movie", "cookies": "cookie",
    "ties": "tie", "pies": "pie", "calories": "calorie",
    "bacteria": "bacterium", "viruses": "virus",
}  # fmt: skip
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {
    word: str(number)
    for number, word in zip(
        range(30, 100, 10), "thirty forty fifty sixty seventy eighty ninety".split(), strict=True
    )
}
"""Numbers that are one word, as digits."""
SAME = {
    other: first
    for line in (
        "buy purchase|start begin commence|fix repair mend|big large|biggest largest|"
        "choose pick select|movie film|photo photograph picture|car automobile|"
        "color colour|favorite favourite|center centre|gray grey|organize organise|"
        "organization organisation|analyze analyse|recognize recognise|license licence|"
        "theater theatre|meter metre|liter litre|kilometer kilometre km|kilogram kg|"
        "behavior behaviour|neighbor neighbour|flavor flavour|catalog catalogue|"
        "kid child|mom mum mother|dad father|doctor physician|easy simple|easiest simplest|"
        "human person|assist help|email e-mail|okay ok|"
        "improve enhance|benefit advantage|disadvantage drawback|"
        "finish complete|tv television|bike bicycle|refrigerator fridge|"
        "cheap inexpensive|expensive costly pricey|usually normally typically|"
        "often frequently|javascript js|postgres postgresql|kubernetes k8s|folder directory|"
        "couch sofa|trash garbage rubbish|lawyer attorney|tap faucet|gasoline petrol|"
        "rapid quick|quickest fastest|nearest closest|newest latest|necessary required|"
        "approximately roughly|maybe perhaps|tasty delicious|afraid scared|"
        "cellphone smartphone|vegetable veggie|airplane aeroplane|"
        "reduce decrease lessen|cause reason|compose write draft|idea suggestion|"
        "located situated|infant baby|glad happy|sad unhappy|"
        "wealthy rich|error mistake|happen occur|require need|allow permit|attempt try|"
        "obtain acquire|speak talk|sick ill|nation country|"
        "clever smart intelligent|cookie biscuit|candy sweets|"
        "tip hint|method technique"
    ).split("|")
    for first, *others in [line.split()]
    for other in others
}
"""Words that may stand for one another, by that which does."""
PHRASES = (
    ("get rid of", "remove"), ("getting rid of", "remove"), ("get in touch with", "contact"),
    ("log in", "signin"), ("sign in", "signin"), ("log into", "signin"), ("sign into", "signin"),
    ("log out", "signout"), ("sign out", "signout"), ("log off", "signout"),
    ("sign up", "register"), ("switch on", "enable"), ("turn on", "enable"),
    ("switch off", "disable"), ("turn off", "disable"), ("as well as", "and"),
    ("a lot of", "many"), ("lots of", "many"), ("the fall", "autumn"), ("fall season", "autumn"),
    ("cell phone", "cellphone"), ("mobile phone", "cellphone"), ("united states", "usa"),
    ("united kingdom", "uk"), ("find out", "discover"), ("at the moment", "now"),
    ("right now", "now"), ("these days", "nowadays"), ("for example", "example"),
    ("in order to", "to"), ("so as to", "to"), ("such as", "like"),
    ("every day", "daily"), ("each day", "daily"), ("a day", "daily"), ("per day", "daily"),
    ("on average", "average"), ("life span", "lifespan"), ("life expectancy", "lifespan"),
    ("have to", "must"), ("has to", "must"), ("need to", "must"), ("needs to", "must"),
    ("reason for", "reason of"), ("reasons for", "reason of"), ("cause for", "cause of"),
    ("e mail", "email"), ("wi fi", "wifi"), ("at home", "home"), ("a few", "afew"),
    ("a little", "alittle"),
)  # fmt: skip
"""Words together that say the same as another."""
WORDING = frozenset(
    "grammar grammatical grammatically proofread spell spells spelled spelt spelling rhyme rhymes "
    "rhyming pronounce pronounced pronunciation capitalize capitalise tense letters "
    "syllable syllables vowels consonants anagram anagrams palindrome palindromes rewrite rephrase "
    "reword paraphrase polite punctuation translate translated translation verbatim sentence "
    "repeat quote typo typos apostrophe plural singular conjugate conjugation "
    "characters regex whom".split()
)
"""Who asks with these asks of words as they stand."""
ENGLISH = frozenset(
    "the what how why who which where when is are does did can could should would my your of to "
    "and with from please explain give tell write list about i me a an in on for suggest "
    "recommend define describe name summarize compose draft make show help compare calculate "
    "create provide think find".split()
)
FOREIGN = frozenset(
    "der die das ein eine ist sind und wie wer wo warum nicht kein el la los las que es un una y "
    "en por para le les des une et est quel quelle il je de het een wat waar di che e per non da "
    "o os em uma como".split()
)
"""Words of other languages, whose grammar is not read here."""
