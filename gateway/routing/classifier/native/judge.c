/* What a trained classifier makes of a text: as `Learned` of learned.py, to the last bit. */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS 5
#define LAST 16 /* tokens at the end in which it is asked */
#define LONG 5  /* digits of a long number */
#define MIDDLE 128

/* A sum of products as math.sumprod has it: Ogita, Rump and Oishi's with three numbers. */
struct twice {
    double high, low;
};
struct thrice {
    double high, low, tiny;
};

static struct twice both(double left, double right) {
    double sum = left + right, part = sum - left;
    return (struct twice){sum, (left - (sum - part)) + (right - part)};
}

static struct thrice more(double left, double right, struct thrice total) {
    double product = left * right, rest = fma(left, right, -product);
    struct twice sum = both(total.high, product), one = both(total.low, rest), two = both(one.high, sum.low);
    return (struct thrice){sum.high, two.high, total.tiny + one.low + two.low};
}

static double whole(struct thrice total) {
    struct twice last = both(total.low, total.high);
    return total.tiny + last.low + last.high;
}

static double sumprod(const double *weights, const double *form, const uint16_t *places, size_t count) {
    struct thrice total = {0, 0, 0};
    for (size_t at = 0; at < count; at++) total = more(weights[places[at]], form[at], total);
    return whole(total);
}

/* A sum as sum() has it: Neumaier's. */
static double sum(const double *values, size_t count) {
    double total = values[0], rest = 0;
    for (size_t at = 1; at < count; at++) {
        double next = total + values[at];
        rest += fabs(total) >= fabs(values[at]) ? (total - next) + values[at] : (values[at] - next) + total;
        total = next;
    }
    return total + rest;
}

static double between(double value, double low, double high) {
    double least = value > low ? value : low;
    return least < high ? least : high;
}

static double ramp(double share, double low, double high) { return between((share - low) / (high - low), 0, 1); }

static double most(int count, int limit) { return count < limit ? count : limit; }

static double log_of(double count) { return count == 0 ? count : log1p(count); }

/* Whether what stands before a place ends with a word. */
static int ends(const uint8_t *text, size_t at, const char *word, size_t length) {
    return at >= length && !memcmp(text + at - length, word, length);
}

/* How often so many of a byte stand together, each counted once. */
static int together(const uint8_t *text, size_t length, uint8_t byte, int many, size_t all) {
    int found = 0, run = 0;
    for (size_t at = 0; all >= (size_t)many && at < length; at++) {
        run = text[at] == byte ? run + 1 : 0;
        found += run && run % many == 0;
    }
    return found;
}

/* The different ones among `count` hashes; with `tokens`, of whose bytes each is. Returns how many, and
 * puts the place of each first into `first`. */
static size_t different(
    const uint32_t *hashes, const struct token *tokens, const uint8_t *low, size_t count, uint16_t *first) {
    uint16_t slots[4 * LONGEST];
    size_t places = 64, found = 0;
    while (places < 2 * count) places *= 2;
    memset(slots, 0, places * sizeof *slots);
    for (size_t at = 0; at < count; at++) {
        size_t slot = spread(hashes[at]) & (places - 1);
        for (; slots[slot]; slot = (slot + 1) & (places - 1)) {
            size_t other = slots[slot] - 1u;
            if (hashes[other] != hashes[at]) continue;
            if (!tokens || (tokens[other].length == tokens[at].length &&
                            !memcmp(low + tokens[other].at, low + tokens[at].at, tokens[at].length)))
                break;
        }
        if (slots[slot]) continue;
        slots[slot] = (uint16_t)(at + 1);
        first[found++] = (uint16_t)at;
    }
    return found;
}

static void add(const struct model *model, uint32_t term, int32_t *sums) {
    for (uint32_t slot = spread(term) & model->mask; model->slots[slot].place; slot = (slot + 1) & model->mask)
        if (model->slots[slot].hash == term) {
            const int8_t *steps = model->steps + (size_t)(model->slots[slot].place - 1) * model->lanes;
            for (uint32_t lane = 0; lane < model->lanes; lane++) sums[lane] += steps[lane];
            return;
        }
}

/* The numbers of shape.NAMES. `options` has those of its answer options and, last, its share of digits;
 * `each` is how many different tokens there are. */
static void shape(
    const struct words *words, const uint8_t *text, const struct reading *of, const int32_t *signals, size_t chars,
    const double *options, size_t each, double *numbers) {
    const struct token *tokens = of->tokens;
    size_t length = of->length, count = of->count;
    const uint32_t *begins = of->begins;
    int upper = 0, rare = 0, longest = 0, sentences = 1, later = 0, quotes = 0, boxed = 0;
    int loops = 0, conditions = 0, definitions = 0, denied = 0, seen[TOPICS + 1] = {0}, asked[ASKS + 1] = {0};
    size_t spaces = 0, lines = 0;
    for (size_t at = 0; at < length; at++) {
        upper += text[at] != of->low[at];
        spaces += text[at] == ' ';
        lines += text[at] == '\n';
        later += text[at] >= 0x80 && text[at] < 0xC0;
    }
    for (int byte = 0; byte < 128; byte++)
        rare |= begins[byte] && !is_digit((uint8_t)byte) && !is_letter((uint8_t)byte) && !memchr(".,?!'-:()", byte, 9);
    for (int byte = 128; byte < 256; byte++) rare |= begins[byte] > 0;
    for (size_t at = 0; at < count; at++) {
        const struct token *token = tokens + at;
        size_t next = token->at + (size_t)token->length;
        uint8_t last = text[next - 1];
        if (next < length && text[next] == ' ') {
            sentences += last == '.' || last == '?' || last == '!';
            loops += last == 'r' && ends(text, next, "for", 3);
            conditions += last == 'f' && ends(text, next, "if", 2);
            definitions += last == 'f' && ends(text, next, "def", 3);
        } else if (next < length && text[next] == '\n') {
            sentences += last == '.';
        }
        if (token->length >= LONG) {
            if (is_digit(last)) longest = LONG;
            for (size_t from = token->at; from + 5 <= next; from++) boxed |= !memcmp(text + from, "boxed", 5);
        }
        if (!token->word) continue;
        const struct word *one = words->words + token->word - 1;
        if (one->topic <= TOPICS) seen[one->topic]++;
        if (at + LAST < count) continue;
        denied |= one->denies;
        if (one->asks <= ASKS) asked[one->asks] = 1;
    }
    int indent = together(text, length, ' ', 4, spaces), blanks = together(text, length, '_', 2, begins['_']);
    for (size_t at = 0; later && at + 2 < length; at++) quotes += !memcmp(text + at, "\xE2\x80\x9C", 3);
    int stops = (int)begins['.'], questions = (int)begins['?'], dollars = (int)begins['$'], marks[128];
    for (int byte = 0; byte < 128; byte++) marks[byte] = (int)begins[byte];
    size_t characters = length - (size_t)later;
    size_t end = length;
    while (end && is_wide_space(text[end - 1])) end--;
    double size = characters ? (double)characters : 1, all = count ? (double)count : 1;
    double spaced = signals[WORDS] ? signals[WORDS] : 1, letters = (double)(length - spaces - lines);
    int operators = marks['+'] + marks['*'] + marks['/'] + marks['^'] + marks['<'] + marks['>'];
    double *put = numbers;
    *put++ = log_of((double)chars);
    *put++ = log_of(signals[WORDS]);
    for (int at = 0; at < OPTIONS; at++) *put++ = options[at];
    *put++ = most(signals[QUESTIONS], 4);
    *put++ = questions > 0 && end && text[end - 1] == '?';
    *put++ = log_of(signals[NUMBERS]);
    *put++ = options[OPTIONS];
    *put++ = signals[CODE] / 6.0;
    *put++ = signals[MATHS] / 6.0;
    *put++ = most(signals[PROOF], 2);
    *put++ = most(signals[REASONING], 3);
    *put++ = most(signals[BUILD], 2);
    *put++ = most(signals[SIMPLE], 2);
    *put++ = signals[IS_TRACE];
    *put++ = signals[LOOKUP];
    *put++ = signals[COUNTING];
    *put++ = log_of((double)lines);
    *put++ = rare ? most(blanks, 3) : 0;
    *put++ = rare ? most(marks['\\'] + dollars, 30) : 0;
    *put++ = letters / spaced;
    *put++ = (double)each / all;
    *put++ = log_of(spaced / sentences);
    *put++ = log_of(sentences);
    *put++ = upper / size;
    *put++ = marks[','] / spaced;
    *put++ = marks['('] / spaced;
    *put++ = rare ? (double)(marks['"'] + (int)quotes) / spaced : 0;
    *put++ = (double)(length - characters) / size;
    *put++ = rare ? most(marks['='], 12) : 0;
    *put++ = rare ? most(operators, 20) : 0;
    *put++ = rare ? most(marks['%'], 3) : 0;
    *put++ = most(dollars, 6);
    *put++ = most(stops, 20) / spaced;
    *put++ = rare ? most(marks['{'], 12) : 0;
    *put++ = rare ? most(marks['['], 20) : 0;
    *put++ = indent / size;
    *put++ = most(loops, 6);
    *put++ = most(conditions, 6);
    *put++ = most(definitions, 3);
    *put++ = most(stops, 30);
    *put++ = boxed;
    *put++ = length >= 7 && !memcmp(text, "You are", 7);
    *put++ = signals[NUMBERS] > 0 && longest >= LONG;
    *put++ = denied;
    *put++ = most(marks[':'], 8);
    *put++ = rare ? most(marks[';'], 6) : 0;
    for (int topic = 1; topic <= TOPICS; topic++)
        *put++ = words->shared[topic] ? seen[topic] / all : most(seen[topic], 6);
    memset(put, 0, (OPENINGS + ASKS) * sizeof *put);
    const struct word *opens = count && tokens[0].word ? words->words + tokens[0].word - 1 : NULL;
    if (opens && opens->opening && opens->opening <= OPENINGS) put[opens->opening - 1] = 1;
    put += OPENINGS;
    for (int ask = 1; ask <= ASKS; ask++) *put++ = asked[ask];
}

/* The mean of the leaves where walks end. */
static double forest(const struct model *model, const double *numbers) {
    uint8_t above[SHAPE];
    for (uint32_t name = 0; name < model->width; name++) {
        uint32_t from = model->cut_from[name], left = model->cut_from[name + 1] - from;
        const double *cuts = model->cuts + from;
        uint32_t low = 0;
        while (low < left) {
            uint32_t middle = (low + left) / 2;
            if (cuts[middle] < numbers[name]) low = middle + 1;
            else left = middle;
        }
        above[name] = (uint8_t)low;
    }
    int64_t total = 0;
    for (uint32_t tree = 0; tree < model->trees; tree++) {
        const uint8_t *nodes = model->nodes + NODE * (size_t)model->tree_from[tree], *node = nodes;
        while (node[0] != LEAF)
            node = node[1] < above[node[0]] ? nodes + NODE * (size_t)(node[2] | node[3] << 8) : node + NODE;
        total += node[1];
    }
    return (double)(total - MIDDLE * (int64_t)model->trees) * model->unit;
}

/* The prior by its formula: how likely fast suffices, and smart. `weights` has two logits where there
 * are no words and, of each term, what a unit of it adds to both. */
static void prior(const int32_t *signals, const double *weights, double *fast, double *smart) {
    double words = log2(1 + signals[WORDS] / 8.0), logits[2] = {weights[0], weights[1]};
    double terms[] = {
        words < 5 ? words : 5,
        most(signals[BUILD], 1),
        signals[BUILD] > 0 && signals[CODE] > 0,
        signals[COUNTING] && signals[NUMBERS] > 0,
        signals[CODE] / 6.0,
        signals[MATHS] / 6.0,
        most(signals[PROOF], 2),
        most(signals[REASONING], 3),
        signals[IS_TRACE],
        most(signals[SIMPLE], 2),
        signals[LOOKUP],
        signals[GREETING],
    };
    for (size_t at = 0; at < sizeof terms / sizeof *terms; at++)
        for (int logit = 0; logit < 2; logit++) logits[logit] += weights[2 + 2 * at + (size_t)logit] * terms[at];
    *fast = 1 / (1 + exp(-logits[0]));
    *smart = 1 - (1 - *fast) * (1 / (1 + exp(-logits[1])));
}

/* Fills `score` with: how likely fast suffices, and smart; and what made it, the parts of `because`.
 * `fast` and `smart` are the prior's, or `formula` has its weights; `told` is as `options` of
 * `shape`. */
PUBLIC void tiergate_score(
    const struct words *words, const struct model *model, const uint8_t *text, size_t length, size_t chars,
    const int32_t *signals, const double *told, const double *formula, double fast, double smart, double *score) {
    if (formula) prior(signals, formula, &fast, &smart);
    uint64_t id = (uint32_t)signals[ID] | (uint64_t)(uint32_t)signals[ID_HIGH] << 32;
    const struct reading *of = reading_of(words, text, length, id);
    const struct token *tokens = of->tokens;
    const uint8_t *low = of->low;
    size_t count = of->count;
    uint32_t hashes[LONGEST];
    uint16_t first[LONGEST];
    int32_t sums[LANES] = {0}, worded = 0, seen = 0;
    for (size_t at = 0; at < count; at++) hashes[at] = tokens[at].hash;
    size_t each = different(hashes, tokens, low, count, first);
    for (size_t at = 0; at < each; at++) {
        const struct token *token = tokens + first[at];
        add(model, token->hash, sums);
        if (!is_letter(low[token->at]) && !is_high(low[token->at])) continue;
        worded++;
        uint32_t word = token->hash & 0xFFFF;
        seen += model->known[word >> 3] >> (word & 7) & 1;
    }
    double numbers[SHAPE];
    shape(words, text, of, signals, chars, told, each, numbers);
    size_t pairs = 0;
    if (count) {
        for (size_t at = 0; at + 1 < count; at++)
            hashes[at] = crc_more(tokens[at].hash, low + tokens[at + 1].at, tokens[at + 1].length);
        pairs = different(hashes, NULL, low, count - 1, first);
        for (size_t at = 0; at < pairs; at++) add(model, hashes[first[at]], sums);
    }
    double unit = 1 / sqrt(each + pairs ? (double)(each + pairs) : 1), lanes[LANES], gates[SOURCES] = {0}, form[SHAPE];
    uint16_t places[SHAPE];
    size_t some = 0;
    for (uint32_t lane = 0; lane < model->lanes; lane++) lanes[lane] = (double)sums[lane] * model->scales[lane] * unit;
    for (uint16_t name = 0; name < SHAPE; name++) {
        double number = numbers[name], from = model->ends[2 * name], to = model->ends[2 * name + 1];
        if (number == 0) continue;
        form[some] = number > from ? (number < to ? number : to) - from : 0;
        places[some++] = name;
    }
    uint32_t nearest = 0;
    for (uint32_t at = 0; at < model->sources; at++) {
        gates[at] = between(lanes[1 + model->sources + at], 0, 1);
        if (gates[at] > gates[nearest]) nearest = at;
    }
    double all = sum(gates, model->sources), known_words = worded ? (double)seen / (double)worded : 0;
    double familiar = gates[nearest] * ramp(known_words, 0.60, 0.95);
    double wording = 0, shaped = 0, known = 0;
    const double *weights = model->weights, *bases = model->bases;
    if (familiar > 0)
        for (uint32_t at = 0; at < model->sources; at++)
            if (gates[at] > 0) {
                double share = familiar * gates[at] / all;
                wording += share * lanes[1 + at];
                shaped += share * (bases[1 + at] + sumprod(weights + (1 + at) * SHAPE, form, places, some));
                known += model->reasoned[at] ? share : 0;
            }
    double strange = 1 - familiar;
    if (strange > 0) {
        wording += strange * lanes[0];
        shaped += strange * (bases[0] + sumprod(weights, form, places, some));
    }
    shaped += forest(model, numbers) * (1 - model->strange * strange);
    double trust = ramp(known_words, 0.75, 0.90);
    wording = wording * trust;
    shaped = shaped * trust;
    double logit = log(fast / (1 - fast));
    double need = wording + shaped - model->prior * (1 - model->settled * familiar) * logit;
    double fails = (1 - smart) / (1 - fast), own = 0;
    uint32_t last = model->forms - 1;
    if (known != 0) {
        double beats = bases[last] + sumprod(weights + last * SHAPE, form, places, some);
        fails = (1 - known) * fails + known * between(beats, 0.02, 1 - 0.02);
    }
    if (model->own) {
        own = (1 - model->base) *
              (lanes[model->lanes - 1] + (bases[last - 1] + sumprod(weights + (last - 1) * SHAPE, form, places, some)));
        wording = wording * model->base;
        shaped = shaped * model->base;
        need = need * model->base + own;
    }
    double level = between(model->level - model->slope * need, -30, 30);
    score[0] = 1 / (1 + exp(-level));
    score[1] = 1 - (1 - score[0]) * fails;
    score[2] = wording;
    score[3] = shaped;
    score[4] = familiar;
    score[5] = nearest;
    score[6] = own;
}
