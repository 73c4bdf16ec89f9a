/* A trained classifier, laid out for `tiergate_score`. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN (1 << 13)
#define CUTS_MOST 255
#define PLAIN 7 /* numbers before those of tables */

static uint32_t term_at(const uint8_t *terms, uint32_t at) {
    const uint8_t *of = terms + 4 * (size_t)at;
    return of[0] | (uint32_t)of[1] << 8 | (uint32_t)of[2] << 16 | (uint32_t)of[3] << 24;
}

/* Whether each walk ends in a leaf: a way only leads on, and to nodes of the same tree. */
static int sound(const uint8_t *nodes, uint32_t count, const uint32_t *cut_from, uint32_t width) {
    for (uint32_t at = 0; at < count; at++) {
        const uint8_t *node = nodes + NODE * (size_t)at;
        uint32_t right = node[2] | (uint32_t)node[3] << 8;
        if (node[0] == LEAF) continue;
        if (node[0] >= width || node[1] >= cut_from[node[0] + 1] - cut_from[node[0]]) return 0;
        if (at + 1 >= count || right <= at || right >= count) return 0;
    }
    return count > 0;
}

/* `sizes`: numbers of a shape, forms, lanes, sources, terms, terms of the owner's labels alone, whether
 * there is a lane of these, trees; where each number's cuts begin and end; where each tree's nodes do.
 * `numbers`: seven plain ones, then ends, weights, bases, scales and cuts. `bytes`: known words, which
 * sources have reasoning, terms, lanes, the owner's lane, nodes. NULL where they do not fit. */
PUBLIC struct model *tiergate_model(
    const uint32_t *sizes, size_t size_count, const double *numbers, size_t number_count, const uint8_t *bytes,
    size_t byte_count) {
    if (size_count < 8) return NULL;
    uint32_t width = sizes[0], forms = sizes[1], lanes = sizes[2], sources = sizes[3], plain = sizes[4];
    uint32_t extra = sizes[5], own = sizes[6], trees = sizes[7];
    if (width != SHAPE || sources < 1 || sources > SOURCES || own > 1 || lanes != 1 + 2 * sources + own) return NULL;
    if (forms != 2 + sources + own || plain >= 1 << 16 || extra >= 1 << 16 || plain + extra >= 1 << 16) return NULL;
    if ((extra && !own) || trees > 1 << 16 || size_count != 8 + width + 1 + trees + 1) return NULL;
    const uint32_t *cut_from = sizes + 8, *tree_from = cut_from + width + 1;
    uint32_t cuts = cut_from[width], nodes = tree_from[trees];
    if (cut_from[0] || tree_from[0]) return NULL;
    for (uint32_t at = 0; at < width; at++)
        if (cut_from[at] > cut_from[at + 1] || cut_from[at + 1] - cut_from[at] > CUTS_MOST) return NULL;
    size_t doubles = PLAIN + 2 * (size_t)width + (size_t)forms * width + forms + lanes + cuts;
    size_t tables = (size_t)plain * (lanes - own), owned = own ? (size_t)plain + extra : 0;
    size_t terms = (size_t)plain + extra;
    if (number_count != doubles || byte_count != KNOWN + sources + 4 * terms + tables + owned + NODE * (size_t)nodes)
        return NULL;
    const uint8_t *all_terms = bytes + KNOWN + sources, *table = all_terms + 4 * terms, *owners = table + tables;
    const uint8_t *all_nodes = owners + owned;
    for (uint32_t at = 0; at < trees; at++)
        if (tree_from[at] > tree_from[at + 1] || tree_from[at + 1] > nodes ||
            !sound(all_nodes + NODE * (size_t)tree_from[at], tree_from[at + 1] - tree_from[at], cut_from, width))
            return NULL;

    size_t places = 64;
    while (places < 2 * terms) places *= 2;
    size_t of_numbers = sizeof *numbers * doubles, of_sizes = sizeof *sizes * size_count;
    size_t of_slots = sizeof(struct term) * places, of_steps = terms * lanes;
    struct model *all =
        calloc(1, sizeof *all + of_numbers + of_sizes + of_slots + of_steps + KNOWN + sources +
                      NODE * (size_t)nodes);
    if (!all) return NULL;
    double *kept = (double *)(all + 1);
    uint32_t *kept_sizes = (uint32_t *)(kept + doubles);
    all->slots = (struct term *)(kept_sizes + size_count);
    all->steps = (int8_t *)(all->slots + places);
    uint8_t *kept_bytes = (uint8_t *)all->steps + of_steps;
    memcpy(kept, numbers, of_numbers);
    memcpy(kept_sizes, sizes, of_sizes);
    memcpy(kept_bytes, bytes, KNOWN + sources);
    memcpy(kept_bytes + KNOWN + sources, all_nodes, NODE * (size_t)nodes);

    all->width = width;
    all->forms = forms;
    all->lanes = lanes;
    all->sources = sources;
    all->trees = trees;
    all->own = own;
    all->mask = (uint32_t)places - 1;
    all->unit = kept[0];
    all->prior = kept[1];
    all->settled = kept[2];
    all->strange = kept[3];
    all->base = kept[4];
    all->slope = kept[5];
    all->level = kept[6];
    all->ends = kept + PLAIN;
    all->weights = all->ends + 2 * (size_t)width;
    all->bases = all->weights + (size_t)forms * width;
    all->scales = all->bases + forms;
    all->cuts = all->scales + lanes;
    all->cut_from = kept_sizes + 8;
    all->tree_from = all->cut_from + width + 1;
    all->known = kept_bytes;
    all->reasoned = kept_bytes + KNOWN;
    all->nodes = all->reasoned + sources;
    for (uint32_t at = 0; at < terms; at++) {
        uint32_t term = term_at(all_terms, at), slot = spread(term) & all->mask;
        while (all->slots[slot].place) slot = (slot + 1) & all->mask;
        all->slots[slot] = (struct term){term, at + 1};
        int8_t *steps = all->steps + (size_t)at * lanes;
        for (uint32_t lane = 0; at < plain && lane < lanes - own; lane++)
            steps[lane] = (int8_t)table[(size_t)lane * plain + at];
        if (own) steps[lanes - 1] = (int8_t)owners[at];
    }
    return all;
}
