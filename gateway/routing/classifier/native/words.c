/* The lists of words and phrases, and the words of a text. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

static uint32_t crc_table[256];

static void crc_prepare(void) {
    for (uint32_t at = 0; at < 256; at++) {
        uint32_t crc = at;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        crc_table[at] = crc;
    }
}

/* As zlib.crc32(bytes, crc). */
uint32_t crc_more(uint32_t crc, const uint8_t *bytes, size_t length) {
    crc = ~crc;
    for (size_t at = 0; at < length; at++) crc = crc_table[(crc ^ bytes[at]) & 255] ^ crc >> 8;
    return ~crc;
}

PUBLIC int tiergate_kernel(void) {
    crc_prepare();
    return TIERGATE_KERNEL;
}

PUBLIC void tiergate_free(void *made) { free(made); }

#define RECORD 8 /* bytes before those of a name: its list, six that tell of it, its length */

static void place(struct words *all, uint32_t at) {
    uint32_t slot = all->words[at].hash & all->mask;
    while (all->slots[slot]) slot = (slot + 1) & all->mask;
    all->slots[slot] = (uint16_t)(at + 1);
}

/* Of records, one after the other; NULL where they are none. `english` and `unknown` are a sign and a
 * language, `enough` is the least that tells a language. The records are copied. */
PUBLIC struct words *tiergate_words(const uint8_t *records, size_t size, int english, int unknown, int enough) {
    uint32_t counts[LISTS] = {0}, sought = 0;
    for (size_t at = 0; at < size;) {
        if (size - at < RECORD || records[at] >= LISTS || size - at - RECORD < records[at + 7]) return NULL;
        uint8_t list = records[at], length = records[at + 7];
        if (!length || (length < 2 && list != WORD && list < SIGN) || (list == SIGN && length > LANGUAGES)) return NULL;
        counts[list]++;
        sought += list != WORD && list < SIGN;
        at += RECORD + length;
    }
    if (counts[WORD] >= 1 << 14 || sought > SOUGHT) return NULL;
    uint32_t places = 64;
    while (places < 2 * counts[WORD]) places *= 2;
    size_t of_words = sizeof(struct word) * (counts[WORD] + 1), of_slots = sizeof(uint16_t) * places;
    struct words *all = calloc(1, sizeof *all + of_words + of_slots + size);
    if (!all) return NULL;
    all->words = (struct word *)(all + 1);
    all->slots = (uint16_t *)((char *)all->words + of_words);
    uint8_t *bytes = (uint8_t *)all->slots + of_slots;
    memcpy(bytes, records, size);
    all->bytes = bytes;
    all->mask = places - 1;
    all->english = (uint8_t)english;
    all->unknown = (uint8_t)unknown;
    all->enough = (uint8_t)enough;
    for (size_t at = 0; at < size; at += RECORD + (size_t)bytes[at + 7]) {
        const uint8_t *of = bytes + at, *name = of + RECORD;
        uint8_t length = of[7];
        if (of[0] == WORD) {
            all->words[all->count] = (struct word){
                crc_more(0, name, length), (uint32_t)(at + RECORD), length, of[1], of[2], of[3], of[4], of[5], of[6]};
            place(all, all->count++);
        } else if (of[0] == SIGN) {
            memcpy(all->points[of[1]], name, length);
        } else if (of[0] == SHARED) {
            all->shared[of[1]] = 1;
        }
    }
    /* Those that may stand anywhere by their first byte, then the rest. */
    for (int byte = 0; byte <= 256; byte++) {
        if (byte < 256) all->first[byte] = (uint8_t)all->sought_count;
        for (size_t at = 0; at < size; at += RECORD + (size_t)bytes[at + 7]) {
            const uint8_t *of = bytes + at;
            int anywhere = of[0] >= PHRASE && of[0] <= FENCE;
            if (byte < 256 ? anywhere && of[RECORD] == byte : of[0] == FACT || of[0] == LATEX)
                all->sought[all->sought_count++] =
                    (struct sought){(uint32_t)(at + RECORD), of[7], of[0], of[1]};
        }
        if (byte == 255) all->anywhere = all->sought_count;
    }
    all->first[256] = (uint8_t)all->anywhere;
    for (uint32_t at = 0; at < all->anywhere; at++) {
        const uint8_t *name = bytes + all->sought[at].at;
        all->second[name[0]] |= 1u << (name[1] & 31);
    }
    return all;
}

const struct word *word_of(const struct words *words, uint32_t hash, const uint8_t *bytes, size_t length) {
    for (uint32_t slot = hash & words->mask; words->slots[slot]; slot = (slot + 1) & words->mask) {
        const struct word *one = words->words + words->slots[slot] - 1;
        if (one->hash == hash && one->length == length && equal(words->bytes + one->at, bytes, length)) return one;
    }
    return NULL;
}

/* Words, numbers and marks in order, as `token.TOKEN` finds them. */
static size_t tokens_of(const struct words *words, const uint8_t *low, size_t length, struct token *found) {
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        size_t end = at + 1;
        if (is_space(low[at])) {
            at = end;
            continue;
        }
        int letter = is_letter(low[at]);
        if (letter)
            while (end < length && is_letter(low[end])) end++;
        else if (is_digit(low[at]))
            while (end < length && is_digit(low[end])) end++;
        else if (is_high(low[at]))
            while (end < length && is_high(low[end])) end++;
        uint32_t hash = crc_more(0, low + at, end - at);
        const struct word *known = letter ? word_of(words, hash, low + at, end - at) : NULL;
        found[count++] = (struct token){
            hash, (uint16_t)at, (uint16_t)(end - at), (uint16_t)(known ? known - words->words + 1 : 0)};
        at = end;
    }
    return count;
}

/* A text in its tokens, which holds until this thread reads another. With the `id` of a reading that it
 * still has, it is that; with 0 it is read, and has an id of its own. */
const struct reading *reading_of(const struct words *words, const uint8_t *text, size_t length, uint64_t id) {
    static _Thread_local struct reading kept;
    static _Atomic uint64_t ids;
    struct reading *last = &kept;
    if (length > LONGEST) length = LONGEST;
    if (id && id == last->id && length == last->length) return last;
    memset(last->begins, 0, sizeof last->begins);
    for (size_t at = 0; at < length; at++)
        last->low[at] = (uint8_t)(text[at] + (text[at] >= 'A' && text[at] <= 'Z' ? 'a' - 'A' : 0));
    last->id = ++ids;
    last->length = length;
    last->count = tokens_of(words, last->low, length, last->tokens);
    for (size_t at = 0; at < last->count; at++) last->begins[last->low[last->tokens[at].at]]++;
    return last;
}
