/* What the classifier reads of a prompt, in C that knows nothing of Python: see __init__.py.
 *
 * A text is UTF-8 whose letters, digits and spaces are ASCII's; of what is beyond LONGEST bytes nothing
 * is read. A thread keeps its last text in tokens until it reads another, and nothing else is kept.
 * Whatever the bytes of a text are, no read or write leaves what belongs to the call. */
#ifndef TIERGATE_KERNEL_H
#define TIERGATE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define TIERGATE_KERNEL 1 /* grows when what is exported changes */
#define PUBLIC __attribute__((visibility("default")))

#define LONGEST 4096
#define LANGUAGES 32
#define SIGNS 256
#define TOPICS 15
#define OPENINGS 27
#define ASKS 7
#define SHAPE (50 + TOPICS + OPENINGS + ASKS) /* numbers of a text */
#define SOURCES 64
#define LANES (2 + 2 * SOURCES)
#define LEAF 255 /* stands where a node names its number */
#define NODE 4   /* bytes */

/* Lists that a word stands in; 0 is none of a kind. */
struct word {
    uint32_t hash;
    uint32_t at; /* of its bytes */
    uint8_t length, kind, topic, sign, opening, asks, denies;
};

/* What is searched for letter by letter, by its list. */
enum { WORD, PHRASE, TRACE, PROGRAM, MARKED, FENCE, FACT, LATEX, SIGN, SHARED, LISTS };

struct sought {
    uint32_t at;
    uint8_t length, list, kind;
};

#define SOUGHT 128 /* at most */

struct words {
    uint32_t count, mask, sought_count;
    const uint8_t *bytes;
    struct word *words;
    uint16_t *slots; /* a word's place and one, or 0 */
    uint8_t first[257]; /* by first byte: where those begin that are sought anywhere */
    uint32_t second[256]; /* by first byte: bits of what their second bytes may be */
    struct sought sought[SOUGHT]; /* those first, then facts and LaTeX */
    uint32_t anywhere;
    uint8_t points[SIGNS][LANGUAGES]; /* by sign */
    uint8_t shared[256]; /* by topic: whether it counts by its share of a text */
    uint8_t english, unknown, enough;
};

/* A word, a number or a mark of a text. */
struct token {
    uint32_t hash; /* CRC-32 */
    uint16_t at, length, word; /* its place in `words` and one, or 0 */
};

/* A text in its tokens. */
struct reading {
    uint64_t id; /* of the call that read it; 0 is none */
    size_t length, count;
    uint32_t begins[256]; /* by byte: tokens that begin with it; a mark is one byte */
    uint8_t low[LONGEST];
    struct token tokens[LONGEST];
};

/* What `tiergate_read` finds, by place. Points of code and maths are of six. */
enum {
    WORDS, QUESTIONS, NUMBERS, DIGITS, CODE, MATHS, PROOF, REASONING, BUILD, SIMPLE, IS_TRACE, LOOKUP,
    COUNTING, GREETING, LANGUAGE, ID, ID_HIGH, FOUND
};

struct term {
    uint32_t hash, place; /* counted from 1; 0 where a slot is free */
};

/* A trained classifier. All numbers are Python's own, so that sums are the same to the last bit. */
struct model {
    uint32_t width, forms, lanes, sources, mask, trees, own;
    double unit, prior, settled, strange, base, slope, level;
    const double *ends;    /* by number: between which two it counts */
    const double *weights; /* by form, those of `beats` last: what a unit of each number adds */
    const double *bases;   /* by form: what it comes to where all numbers are 0 */
    const double *scales;  /* by lane */
    const double *cuts;
    const uint32_t *cut_from; /* by number, and one more: where its cuts begin */
    const uint8_t *known;     /* a bit for each word, by its last 16 bits */
    const uint8_t *reasoned;  /* by source */
    const uint8_t *nodes;     /* four bytes each */
    const uint32_t *tree_from;
    int8_t *steps;  /* by term, lane by lane */
    struct term *slots;
};

/* What is exported; each says what it does where it is. */
int tiergate_kernel(void);
void tiergate_free(void *made);
struct words *tiergate_words(const uint8_t *records, size_t size, int english, int unknown, int enough);
struct model *tiergate_model(
    const uint32_t *sizes, size_t size_count, const double *numbers, size_t number_count, const uint8_t *bytes,
    size_t byte_count);
void tiergate_read(const struct words *words, const uint8_t *bytes, size_t size, int32_t *found);
void tiergate_score(
    const struct words *words, const struct model *model, const uint8_t *text, size_t length, size_t chars,
    const int32_t *signals, const double *told, const double *formula, double fast, double smart, double *score);

uint32_t crc_more(uint32_t crc, const uint8_t *bytes, size_t length);
const struct word *word_of(const struct words *words, uint32_t hash, const uint8_t *bytes, size_t length);
const struct reading *reading_of(const struct words *words, const uint8_t *text, size_t length, uint64_t id);

/* Where a hash is looked for first, in a table of a power of two. */
static inline uint32_t spread(uint32_t hash) { return hash ^ hash >> 15; }

/* For a few bytes a call of memcmp takes longer. */
static inline int equal(const uint8_t *one, const uint8_t *other, size_t length) {
    while (length && *one++ == *other++) length--;
    return !length;
}

static inline int is_letter(uint8_t byte) { return byte >= 'a' && byte <= 'z'; }
/* Of a mark of Unicode; its later bytes are marks of its own. */
static inline int is_high(uint8_t byte) { return byte >= 0x80; }
static inline int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }
/* As bytes.split() has it; str.split() parts at four more. */
static inline int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }
static inline int is_wide_space(uint8_t byte) { return is_space(byte) || (byte >= 28 && byte <= 31); }

#endif
