/* Feeds the classifier's C texts, lists and models that nobody means well with, and looks at what comes
 * of them: driver SEED ROUNDS [LISTS]. LISTS is a file of the gateway's own records.
 *
 * Prints how often what was taken, and a sum of every bit that was found: another build of the same
 * sources, whatever its flags, prints the same. Every piece of memory is as long as is said, so that a
 * sanitizer sees a byte too many. */
#include "kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 8
#define TOLD 6
#define SCORES 7
#define FORMULA 26
#define KNOWN (1 << 13)
#define NODES_MOST 4096

static uint64_t state, sum = 0xcbf29ce484222325u;
static unsigned long taken[4], refused[2];

static uint32_t below(uint32_t end) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 33) % end;
}

static int one_of(uint32_t many) { return !below(many); }

static double part(double low, double high) { return low + (high - low) * below(1u << 24) / (double)(1u << 24); }

static void add(const void *from, size_t size) {
    for (size_t at = 0; at < size; at++) sum = (sum ^ ((const uint8_t *)from)[at]) * 0x100000001b3u;
}

static void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s does not hold\n", what);
    abort();
}

static void *room(size_t size) {
    void *made = malloc(size ? size : 1);
    must(made != NULL, "memory");
    return made;
}

/* The same, shorter: by one or by any number. */
static void *less(void *made, size_t each, size_t *count) {
    *count -= one_of(2) ? 1 : 1 + below((uint32_t)*count);
    made = realloc(made, *count ? each * *count : 1);
    must(made != NULL, "memory");
    return made;
}

/* Records of lists, and the names in them. */
struct lists {
    uint8_t *bytes;
    size_t size;
};

static uint8_t mark(void) { return (uint8_t)" \n\t.?!,'\"=^+*\\()[]{}$%_-:;<>/`#\r\v\f\x1c\x1f"[below(36)]; }

static uint8_t byte(int kind) {
    if (kind == 0) return (uint8_t)below(256);
    if (kind == 1 && one_of(3)) return (uint8_t)('0' + below(10));
    if (one_of(4)) return mark();
    return (uint8_t)("abcdefAB"[below(8)]);
}

/* With `bad`, more of those that are sought than are taken, or a sign of too many languages. */
static struct lists lists(int bad) {
    uint32_t count = bad ? 500 : one_of(8) ? 0 : below(250), most = bad && one_of(2) ? count : SOUGHT;
    struct lists made = {room(count * (RECORD + 40)), 0};
    for (uint32_t each = 0, sought = 0; each < count; each++) {
        uint8_t list = (uint8_t)(one_of(2) ? WORD : below(LISTS)), *to = made.bytes + made.size;
        if (list != WORD && list < SIGN && sought++ >= most) list = SIGN;
        uint8_t length = (uint8_t)(2 + below(list != SIGN ? 6 : bad ? 39 : LANGUAGES - 1));
        to[0] = list;
        for (int of = 1; of < 7; of++) to[of] = (uint8_t)(one_of(3) ? below(256) : below(12));
        to[7] = length;
        for (int at = 0; at < length; at++) to[RECORD + at] = list == WORD ? (uint8_t)('a' + below(6)) : byte(1);
        made.size += RECORD + length;
    }
    uint8_t *whole = made.bytes;
    made.bytes = room(made.size);
    memcpy(made.bytes, whole, made.size);
    free(whole);
    return made;
}

static struct lists copy(const struct lists *from) {
    struct lists made = {room(from->size), from->size};
    memcpy(made.bytes, from->bytes, from->size);
    return made;
}

/* Some bytes changed, or its end cut off: what is no list any more. */
static void spoil(struct lists *those) {
    for (uint32_t times = below(4) + 1; times && those->size; times--)
        those->bytes[below((uint32_t)those->size)] = (uint8_t)(one_of(2) ? below(256) : below(12));
    if (those->size && one_of(3)) those->bytes = less(those->bytes, 1, &those->size);
}

/* A name of the lists, into `to`; how long it is. */
static size_t name(const struct lists *of, uint8_t *to) {
    if (of->size <= RECORD) return 0;
    size_t skip = below((uint32_t)of->size / 12 + 1), at = 0;
    while (skip-- && of->size - at > RECORD && of->size - at - RECORD > of->bytes[at + 7])
        at += RECORD + (size_t)of->bytes[at + 7];
    if (of->size - at < RECORD || of->size - at - RECORD < of->bytes[at + 7]) return 0;
    memcpy(to, of->bytes + at + RECORD, of->bytes[at + 7]);
    return of->bytes[at + 7];
}

static uint8_t *text(const struct lists *of, size_t *length) {
    static const uint32_t edges[] = {0, 1, 2, 6, 7, 119, 120, 239, 240, 359, 360, 361, 4095, 4096, 4097, 5000};
    uint8_t buffer[5300], once = byte(0);
    size_t size = one_of(3) ? edges[below(16)] : below(one_of(8) ? 5000 : 600), at = 0;
    int kind = (int)below(5);
    while (at < size) {
        if (kind == 2 || (kind == 3 && one_of(2))) {
            at += name(of, buffer + at);
            buffer[at++] = one_of(2) ? ' ' : mark();
        } else if (kind && one_of(30)) {
            for (int each = 0; each < 3; each++) buffer[at++] = (uint8_t)"\xe2\x80\x9c"[each];
        } else {
            buffer[at++] = kind == 4 ? once : byte(kind);
        }
    }
    if (one_of(2))
        for (size_t each = 0; each < size; each++)
            if (buffer[each] >= 'a' && buffer[each] <= 'z' && one_of(6)) buffer[each] = (uint8_t)(buffer[each] - 32);
    uint8_t *made = room(size);
    memcpy(made, buffer, size);
    *length = size;
    return made;
}

struct numbers {
    uint32_t *sizes;
    double *doubles;
    uint8_t *bytes;
    size_t size_count, double_count, byte_count;
};

static uint32_t tree(uint8_t *nodes, uint32_t from, uint32_t count, uint32_t depth, const uint32_t *cut_from) {
    uint32_t at = count, which = below(SHAPE);
    uint8_t *node = nodes + 4 * (size_t)(from + at);
    uint32_t cuts = cut_from[which + 1] - cut_from[which];
    memset(node, 0, 4);
    if (!depth || !cuts || one_of(3)) {
        node[0] = 255;
        node[1] = (uint8_t)below(256);
        return at + 1;
    }
    node[0] = (uint8_t)which;
    node[1] = (uint8_t)below(cuts);
    count = tree(nodes, from, at + 1, depth - 1, cut_from);
    node[2] = (uint8_t)(count & 255);
    node[3] = (uint8_t)(count >> 8);
    return tree(nodes, from, count, depth - 1, cut_from);
}

/* A model that fits, of numbers that are as those of a real one. */
static struct numbers numbers(const struct lists *of) {
    static uint8_t nodes[4 * NODES_MOST];
    uint32_t sources = 1 + below(one_of(4) ? SOURCES : 4), own = below(2), plain = below(300), extra = own * below(40);
    uint32_t trees = below(12), lanes = 1 + 2 * sources + own, forms = 2 + sources + own, terms = plain + extra;
    struct numbers made = {0};
    made.size_count = 8 + SHAPE + 1 + trees + 1;
    made.sizes = room(sizeof(uint32_t) * made.size_count);
    uint32_t head[] = {SHAPE, forms, lanes, sources, plain, extra, own, trees};
    memcpy(made.sizes, head, sizeof head);
    uint32_t *cut_from = made.sizes + 8, *tree_from = cut_from + SHAPE + 1;
    cut_from[0] = tree_from[0] = 0;
    for (int at = 0; at < SHAPE; at++) cut_from[at + 1] = cut_from[at] + (one_of(20) ? 255 : below(8));
    for (uint32_t at = 0; at < trees; at++)
        tree_from[at + 1] = tree_from[at] + tree(nodes, tree_from[at], 0, 1 + below(7), cut_from);

    made.double_count = 7 + 2 * SHAPE + (size_t)forms * SHAPE + forms + lanes + cut_from[SHAPE];
    double *put = made.doubles = room(sizeof(double) * made.double_count);
    for (int at = 0; at < 7; at++) *put++ = part(0.01, 1);
    for (int at = 0; at < SHAPE; at++) {
        *put++ = part(0, 1);
        *put++ = part(1, 9);
    }
    for (uint32_t at = 0; at < forms * SHAPE + forms; at++) *put++ = part(-1, 1);
    for (uint32_t at = 0; at < lanes; at++) *put++ = part(0, 0.2);
    for (int name_at = 0; name_at < SHAPE; name_at++)
        for (uint32_t at = cut_from[name_at]; at < cut_from[name_at + 1]; at++)
            *put++ = 0.1 * (at - cut_from[name_at]) + part(0, 0.1);

    size_t of_nodes = 4 * (size_t)tree_from[trees], tables = (size_t)plain * (lanes - own), owned = own * terms;
    made.byte_count = KNOWN + sources + 4 * (size_t)terms + tables + owned + of_nodes;
    made.bytes = room(made.byte_count);
    for (size_t at = 0; at < made.byte_count - of_nodes; at++) made.bytes[at] = (uint8_t)below(256);
    if (one_of(2)) memset(made.bytes, 255, KNOWN);
    for (uint32_t at = 0; at < terms; at++) {
        uint8_t letters[256], *to = made.bytes + KNOWN + sources + 4 * (size_t)at;
        uint32_t term = crc_more(0, letters, one_of(3) ? 0 : name(of, letters));
        for (int shift = 0; shift < 4; shift++) to[shift] = (uint8_t)(term >> 8 * shift);
    }
    memcpy(made.bytes + made.byte_count - of_nodes, nodes, of_nodes);
    return made;
}

static struct model *model(const struct numbers *of) {
    return tiergate_model(of->sizes, of->size_count, of->doubles, of->double_count, of->bytes, of->byte_count);
}

/* Something changed of what says how it is laid out, or is a way through a tree, or a number. */
static void spoil_model(struct numbers *those) {
    static const double odd[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 5e-324, -0.0};
    uint32_t trees = those->sizes[7], nodes = those->sizes[those->size_count - 1], *size = those->sizes + below(8);
    if (one_of(2)) size = those->sizes + (one_of(2) ? those->size_count - 1 - below(trees + 1) : 8 + below(SHAPE + 1));
    switch (below(7)) {
        case 0: *size = (uint32_t)below(1u << 31) << 1; break;
        case 1: *size += one_of(2) ? 1u : 0xffffffffu; break;
        case 2: *size = below(70000); break;
        case 3:
        case 4: those->bytes[those->byte_count - 1 - below(4 * nodes + 1)] = (uint8_t)below(one_of(2) ? 256 : 9); break;
        case 5: those->doubles[below((uint32_t)those->double_count)] = odd[below(7)]; break;
        default:
            switch (below(3)) {
                case 0: those->sizes = less(those->sizes, sizeof(uint32_t), &those->size_count); break;
                case 1: those->doubles = less(those->doubles, sizeof(double), &those->double_count); break;
                default: those->bytes = less(those->bytes, 1, &those->byte_count);
            }
    }
}

/* Reads and judges a text. What a sound model finds is looked at, and counts. */
static void judge(const struct words *words, const struct model *by, const struct lists *of, int sound) {
    size_t length;
    uint8_t *read = text(of, &length);
    size_t chars = length + below(3);
    int32_t *found = room(sizeof(int32_t) * FOUND);
    double *told = room(sizeof(double) * TOLD), *formula = room(sizeof(double) * FORMULA), *score = room(sizeof(double) * SCORES), fast = part(0.001, 0.99), smart = part(fast, 0.999);
    memset(found, 255, sizeof(int32_t) * FOUND);
    tiergate_read(words, read, length, found);
    for (int at = 0; at < ID; at++) must(found[at] >= 0 && found[at] <= 2 * LONGEST, "what is counted");
    must(found[CODE] <= 6 && found[MATHS] <= 6, "six points are all");
    must(found[LANGUAGE] <= LANGUAGES + 1, "a language"); /* one more: that of a sign without points */
    must(found[IS_TRACE] <= 1 && found[LOOKUP] <= 1 && found[COUNTING] <= 1 && found[GREETING] <= 1, "yes or no");
    add(found, sizeof(int32_t) * ID);
    taken[2]++;
    if (by) {
        for (int at = 0; at < SCORES; at++) score[at] = NAN;
        for (int at = 0; at < TOLD; at++) told[at] = one_of(2) ? 0 : part(0, 3);
        for (int at = 0; at < FORMULA; at++) formula[at] = part(-2, 2);
        const double *by_formula = one_of(2) ? formula : NULL;
        tiergate_score(words, by, read, length, chars, found, told, by_formula, fast, smart, score);
        if (sound) {
            for (int at = 0; at < SCORES; at++) must(isfinite(score[at]), "a number");
            must(score[0] >= 0 && score[0] <= 1 && score[1] > -1e-9 && score[1] < 1 + 1e-9, "a likelihood");
            add(score, sizeof(double) * SCORES);
        }
        size_t other_length;
        uint8_t *other = text(of, &other_length);
        int32_t *unused = room(sizeof(int32_t) * FOUND);
        double *again = room(sizeof(double) * SCORES);
        int between = one_of(2);
        int32_t any = one_of(2) ? 0 : (int32_t)below(1u << 31);
        if (between) tiergate_read(words, other, one_of(2) && length < other_length ? length : other_length, unused);
        for (int at = ID; at < FOUND && !between; at++) found[at] = any;
        tiergate_score(words, by, read, length, chars, found, told, by_formula, fast, smart, again);
        must(!sound || !memcmp(score, again, sizeof(double) * SCORES), "the same again");
        free(again);
        free(unused);
        free(other);
        taken[3]++;
    }
    free(formula);
    free(score);
    free(told);
    free(found);
    free(read);
}

static void turn(const struct lists *real) {
    int own = !real->size || one_of(2), bad = one_of(3);
    struct lists those = own ? lists(bad && one_of(2)) : copy(real);
    if (bad) spoil(&those);
    /* One after the other: compilers find arguments in orders of their own. */
    int english = (int)below(256), unknown = (int)below(LANGUAGES), enough = (int)below(20);
    struct words *words = tiergate_words(those.bytes, those.size, english, unknown, enough);
    must(words != NULL || bad, "lists are taken");
    if (!words) {
        refused[0]++;
        free(those.bytes);
        return;
    }
    taken[0]++;
    struct numbers laid = numbers(&those);
    int odd = one_of(2);
    if (odd) spoil_model(&laid);
    struct model *made = model(&laid);
    must(made != NULL || odd, "a model is taken");
    *(made ? &taken[1] : &refused[1]) += 1;
    free(laid.sizes);
    free(laid.doubles);
    free(laid.bytes);
    for (int times = 0; times < 8; times++) judge(words, made, &those, !odd);
    tiergate_free(made);
    tiergate_free(words);
    free(those.bytes);
}

int main(int count, char **words) {
    if (count < 3 || count > 4) return 2;
    state = strtoull(words[1], NULL, 10) * 2 + 1;
    struct lists real = {NULL, 0};
    if (count == 4) {
        FILE *file = fopen(words[3], "rb");
        must(file != NULL && !fseek(file, 0, SEEK_END), words[3]);
        real.size = (size_t)ftell(file);
        real.bytes = room(real.size);
        rewind(file);
        must(fread(real.bytes, 1, real.size, file) == real.size, words[3]);
        fclose(file);
    }
    must(tiergate_kernel() == TIERGATE_KERNEL, "its version");
    for (unsigned long each = strtoul(words[2], NULL, 10); each; each--) turn(&real);
    free(real.bytes);
    printf("lists %lu taken %lu refused, models %lu taken %lu refused, texts %lu read %lu judged, %016llx\n",
           taken[0], refused[0], taken[1], refused[1], taken[2], taken[3], (unsigned long long)sum);
    return 0;
}
