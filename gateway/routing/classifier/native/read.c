/* The signals of a text and its language: as `Scan` of signals.py and `detect` of language.py. */
#include "kernel.h"

#include <string.h>

#define END 8          /* words at an end in which a request stands */
#define LOOKUP_MOST 16 /* words of a question for one fact */
#define GREETING_MOST 12
#define HEAD 240 /* characters by which a language is told */
#define TAIL 120

static int is_wordy(uint8_t byte) { return is_letter(byte) || is_digit(byte) || byte == '_'; }

static int starts(const struct words *words, const struct sought *one, const uint8_t *from, size_t left) {
    return one->length <= left && equal(words->bytes + one->at, from, one->length);
}

/* Points of equations: an operator between what may be operands. */
static int equations(const uint8_t *low, size_t length) {
    int found = 0;
    for (size_t at = 0; at < length; at++) {
        uint8_t sign = low[at];
        if (sign != '=' && sign != '^' && sign != '+' && sign != '*') continue;
        size_t before = at && low[at - 1] == ' ' ? at - 1 : at;
        if (!before) continue;
        uint8_t last = low[before - 1];
        if (!is_wordy(last) && last != ')' && last != '}' && last != ']') continue;
        size_t next = at + 1;
        if (next < length && low[next] == '=') next++;
        if (next < length && low[next] == ' ') next++;
        if (next == length) continue;
        uint8_t right = low[next];
        int operand = is_digit(right) || right == '\\' || right == '(' || right == '-' ||
                      (is_letter(right) && (next + 1 == length || !is_wordy(low[next + 1])));
        if (!operand) continue;
        found++;
        at = next - 1; /* what is between the operands is taken */
    }
    return found;
}

static int latex(const struct words *words, const uint8_t *low, size_t length) {
    int found = 0;
    for (size_t at = 0; at < length; at++) {
        if (low[at] != '\\') continue;
        size_t end = at + 1;
        while (end < length && is_letter(low[end])) end++;
        for (uint32_t each = words->anywhere; each < words->sought_count; each++) {
            const struct sought *one = words->sought + each;
            if (one->list == LATEX && one->length == end - at - 1 && starts(words, one, low + at + 1, end - at - 1)) {
                found++;
                break;
            }
        }
    }
    return found;
}

static int asks_fact(const struct words *words, const uint8_t *low, size_t length) {
    static const char around[] = " \n\t?.!\"'";
    size_t from = 0;
    while (from < length && low[from] && strchr(around, low[from])) from++;
    while (length > from && low[length - 1] && strchr(around, low[length - 1])) length--;
    if (memchr(low + from, '\n', length - from)) return 0;
    for (uint32_t each = words->anywhere; each < words->sought_count; each++) {
        const struct sought *one = words->sought + each;
        if (one->list == FACT && starts(words, one, low + from, length - from)) return 1;
    }
    return 0;
}

static uint8_t sign_of(const struct words *words, const uint8_t *low, size_t length) {
    const struct word *known = word_of(words, crc_more(0, low, length), low, length);
    return known ? known->sign : 0;
}

/* The place of the language that its words tell, counted from 1; 0 where they tell none. A long text is
 * read at its ends, where a word that is cut is another. */
static int told(const struct words *words, const uint8_t *low, size_t length, const struct token *tokens, size_t count) {
    uint16_t counts[SIGNS] = {0};
    size_t head = length > HEAD + TAIL ? HEAD : length, tail = length > HEAD + TAIL ? length - TAIL : length;
    for (size_t at = 0; at < count; at++) {
        size_t from = tokens[at].at, to = from + tokens[at].length;
        if (to <= head || from >= tail) {
            if (tokens[at].word) counts[words->words[tokens[at].word - 1].sign]++;
            continue;
        }
        if (!is_letter(low[from])) continue;
        if (from < head) counts[sign_of(words, low + from, head - from)]++;
        if (to > tail) counts[sign_of(words, low + tail, to - tail)]++;
    }
    unsigned all = 0, points[LANGUAGES] = {0}, most = 0, best = 0, level = 0;
    for (int sign = 1; sign < SIGNS; sign++) all += counts[sign];
    if (2u * counts[words->english] > all) {
        unsigned at = 0;
        while (at < LANGUAGES && !words->points[words->english][at]) at++;
        return (int)at + 1;
    }
    for (int sign = 1; sign < SIGNS; sign++)
        if (counts[sign])
            for (int at = 0; at < LANGUAGES; at++) points[at] += counts[sign] * (unsigned)words->points[sign][at];
    for (unsigned at = 0; at < LANGUAGES; at++) {
        level = points[at] == most ? level + 1 : points[at] > most ? 1 : level;
        if (points[at] > most) most = points[at], best = at;
    }
    return most < words->enough || level > 1 || best == words->unknown ? 0 : (int)best + 1;
}

/* Runs of what is no space. */
static int runs_of(const struct reading *text) {
    int runs = 0;
    for (size_t at = 0; at < text->count; at++) {
        size_t from = text->tokens[at].at;
        runs += !is_wide_space(text->low[from]) && (!from || is_wide_space(text->low[from - 1]));
    }
    return runs;
}

/* Runs of digits; a point or a comma in one does not end it. */
static int numbers_of(const struct reading *text) {
    int numbers = 0;
    size_t goes_on = LONGEST + 1; /* where what goes on with a number would stand */
    for (size_t at = 0; at < text->count; at++) {
        size_t from = text->tokens[at].at;
        uint8_t byte = text->low[from];
        int digit = is_digit(byte);
        numbers += digit && from != goes_on;
        if (digit || (from == goes_on && (byte == '.' || byte == ','))) goes_on = from + text->tokens[at].length;
    }
    return numbers;
}

/* Fills `found`. */
PUBLIC void tiergate_read(const struct words *words, const uint8_t *bytes, size_t size, int32_t *found) {
    /* The codes of kinds, as lexicon.py has them. */
    enum { NO_KIND, IS_PROOF, IS_REASON, IS_BUILD, IS_SIMPLE, IS_CHAT, IS_POLITE, IS_MATHS, IS_CODE, IS_COUNTING, KINDS };
    const struct reading *text = reading_of(words, bytes, size, 0);
    const uint8_t *low = text->low;
    const uint32_t *of = text->begins;
    size_t length = text->length, worded = 0;
    uint8_t kinds[LONGEST], seen[SOUGHT] = {0};
    uint16_t next[SOUGHT] = {0};
    int every[SIGNS] = {0}, ends[SIGNS] = {0}, said[SIGNS] = {0};
    for (size_t at = 0; at < text->count; at++)
        if (is_letter(low[text->tokens[at].at])) {
            uint8_t kind = text->tokens[at].word ? words->words[text->tokens[at].word - 1].kind : 0;
            kinds[worded++] = kind;
            every[kind]++;
        }
    for (size_t at = 0; at < worded; at++)
        if (worded <= 2 * END || at < END || at >= worded - END) ends[kinds[at]]++;
    for (size_t at = 0; at + 1 < length; at++) {
        if (!(words->second[low[at]] >> (low[at + 1] & 31) & 1)) continue;
        for (uint32_t each = words->first[low[at]]; each < words->first[low[at] + 1]; each++)
            if (seen[each] < 2 && at >= next[each] && starts(words, words->sought + each, low + at, length - at)) {
                seen[each]++;
                next[each] = (uint16_t)(at + words->sought[each].length);
            }
    }
    int trace = 0, code = 0, fenced = 0, digits = 0, runs = runs_of(text);
    for (size_t at = 0; at < length; at++) digits += is_digit(low[at]);
    for (uint32_t each = 0; each < words->anywhere; each++)
        if (seen[each]) switch (words->sought[each].list) {
            case PHRASE: said[words->sought[each].kind]++; break;
            case TRACE: trace = 1; break;
            case FENCE: fenced = 1; break;
            default: code += seen[each];
            }
    code += (every[IS_CODE] < 3 ? every[IS_CODE] : 3) + 4 * trace + 4 * fenced;
    if (code > 6) code = 6;
    int maths = every[IS_MATHS];
    if (code < 3 && of['='] + of['^'] + of['+'] + of['*']) maths += equations(low, length);
    if (of['\\']) maths += latex(words, low, length);
    int chat = every[IS_CHAT] + said[IS_CHAT];

    found[WORDS] = runs;
    found[QUESTIONS] = (int32_t)of['?'];
    found[NUMBERS] = digits ? numbers_of(text) : 0;
    found[DIGITS] = digits;
    found[CODE] = code;
    found[MATHS] = maths > 6 ? 6 : maths;
    found[PROOF] = every[IS_PROOF] + said[IS_PROOF];
    found[REASONING] = ends[IS_REASON] + said[IS_REASON];
    found[BUILD] = every[IS_BUILD] + said[IS_BUILD];
    found[SIMPLE] = ends[IS_SIMPLE] + said[IS_SIMPLE] + chat;
    found[IS_TRACE] = trace;
    found[LOOKUP] = runs <= LOOKUP_MOST && asks_fact(words, low, length);
    found[COUNTING] = said[IS_COUNTING] > 0;
    found[GREETING] = chat > 0 && runs <= GREETING_MOST &&
                      chat + every[IS_POLITE] + said[IS_POLITE] >= (int)worded;
    found[LANGUAGE] = told(words, low, length, text->tokens, text->count);
    found[ID] = (int32_t)(uint32_t)text->id;
    found[ID_HIGH] = (int32_t)(uint32_t)(text->id >> 32);
}
