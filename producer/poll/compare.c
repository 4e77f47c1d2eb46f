#include "producer/poll/compare.h"

#include "schemas/identity.h"
#include "workers/common/base/index.h"
#include "workers/common/base/pattern.h"

#include <stdlib.h>

static const char heads[] = "refs/heads/";
static const char tags[] = "refs/tags/";

/* One ref from both sides. */
struct pair {
    const char *ref;
    const struct compare_known *known; /* NULL: not in `refs` */
    const struct page_row *row;        /* NULL: not at the host */
};

/* What is known of the patterns; both lists in one, branches first. */
struct pattern_state {
    bool is_seen;   /* looked at before */
    bool is_marked; /* a known ref of it is marked as polled */
    bool has_new;   /* part of its baseline is not in `refs` */
};

struct comparison {
    const struct compare_input *input;
    struct index pairs; /* ref -> struct pair */
    struct pattern_state *patterns;
    struct compare_changes *changes;
};

static const char *pattern_at(const struct compare_input *input, size_t position)
{
    return position < input->branch_count ? input->branches[position] : input->tags[position - input->branch_count];
}

/* Does the ref match the pattern at that position, which is one of branches or one of tags? */
static bool ref_matches(const struct compare_input *input, size_t position, const char *ref)
{
    const char *prefix = position < input->branch_count ? heads : tags;
    return text_starts_with(ref, prefix) && pattern_matches(pattern_at(input, position), ref + strlen(prefix));
}

static bool ref_is_looked_at(const struct compare_input *input, const char *ref)
{
    if (text_starts_with(ref, heads)) {
        return patterns_match(input->branches, input->branch_count, ref + strlen(heads));
    }
    return text_starts_with(ref, tags) && patterns_match(input->tags, input->tag_count, ref + strlen(tags));
}

static struct pair *pair_of(struct comparison *comparison, const char *ref)
{
    struct pair *pair = index_get(&comparison->pairs, slice_of(ref));
    if (pair == NULL) {
        pair = memory_zeroed(1, sizeof(*pair));
        pair->ref = ref;
        (void)index_put(&comparison->pairs, slice_of(ref), pair);
    }
    return pair;
}

static void pairs_fill(struct comparison *comparison)
{
    const struct compare_input *input = comparison->input;
    for (size_t i = 0; i < input->known_count; i++) {
        const char *ref = input->known[i].state->ref;
        if (ref_is_looked_at(input, ref)) {
            pair_of(comparison, ref)->known = &input->known[i];
        }
    }
    for (size_t i = 0; i < input->listing->page_count; i++) {
        const struct page *page = input->listing->pages[i];
        for (size_t j = 0; j < page->rows.count; j++) {
            const struct page_row *row = (const struct page_row *)page->rows.items + j;
            if (ref_is_looked_at(input, row->ref)) {
                pair_of(comparison, row->ref)->row = row;
            }
        }
    }
}

static void patterns_fill(struct comparison *comparison)
{
    const struct compare_input *input = comparison->input;
    size_t count = input->branch_count + input->tag_count;
    comparison->patterns = memory_zeroed(count + 1, sizeof(*comparison->patterns));
    for (size_t i = 0; i < count; i++) {
        struct pattern_state *pattern = &comparison->patterns[i];
        for (size_t j = 0; j < input->known_count && !pattern->is_marked; j++) {
            const struct ref_state *state = input->known[j].state;
            pattern->is_marked = state->polled && ref_matches(input, i, state->ref);
        }
        pattern->is_seen = pattern->is_marked || (input->is_seen != NULL && input->is_seen[i]);
    }
}

/* --- one ref --- */

static void change_add(struct comparison *comparison, int kind, const struct pair *pair, bool is_baseline)
{
    const struct ref_state *state = pair->known != NULL ? pair->known->state : NULL;
    const struct page_row *row = pair->row;
    struct compare_change *change = groups_add(&comparison->changes->items, sizeof(*change));
    change->kind = kind;
    change->is_baseline = is_baseline;
    change->ref = text_copy(pair->ref);
    change->before = state != NULL ? text_copy_or_null(state->commit) : NULL;
    change->after = row != NULL ? text_copy(row->commit) : NULL;
    change->committed_ms = row != NULL ? row->committed_ms : 0;
    change->generation = state != NULL ? state->generation : 0;
}

static int creation_kind(const char *ref)
{
    return text_starts_with(ref, tags) ? EVENT_TAG_CREATED : EVENT_BRANCH_UPDATED;
}

/* The ref is known to have been at this commit and to have left it. */
static bool leads_back(const struct ref_state *state, const char *commit)
{
    for (size_t i = 0; i < state->steps.count; i++) {
        const struct ref_step *step = (const struct ref_step *)state->steps.items + i;
        if ((step->before != NULL && strcmp(step->before, commit) == 0) ||
            (step->after != NULL && strcmp(step->after, commit) == 0)) {
            return true;
        }
    }
    return false;
}

/* A change that would undo something waits until the ref has been left alone for long enough. */
static bool is_settled(struct comparison *comparison, const struct compare_known *known)
{
    bool is_settled = known->age_ms >= comparison->input->settle_ms;
    comparison->changes->unsettled += is_settled ? 0 : 1;
    return is_settled;
}

/* It was there before anybody looked: no pattern that it matches was looked at before. */
static bool is_baseline(const struct comparison *comparison, const char *ref)
{
    const struct compare_input *input = comparison->input;
    for (size_t i = 0; i < input->branch_count + input->tag_count; i++) {
        if (comparison->patterns[i].is_seen && ref_matches(input, i, ref)) {
            return false;
        }
    }
    return true;
}

/* Before any ref is judged: whose baseline is not told yet? Refs that were told as baseline by this very process may
 * not be in `refs` yet, so what counts is that they are missing there. */
static void new_visit(const char *ref, void *value, void *context)
{
    struct comparison *comparison = context;
    const struct compare_input *input = comparison->input;
    const struct pair *pair = value;
    for (size_t i = 0; pair->known == NULL && i < input->branch_count + input->tag_count; i++) {
        comparison->patterns[i].has_new = comparison->patterns[i].has_new || ref_matches(input, i, ref);
    }
}

/* At the host, and not known, or known to be deleted. */
static void judge_new(struct comparison *comparison, const struct pair *pair)
{
    const char *ref = pair->row->ref;
    if (pair->known == NULL) {
        change_add(comparison, creation_kind(ref), pair, is_baseline(comparison, ref));
    } else if (is_settled(comparison, pair->known)) {
        change_add(comparison, creation_kind(ref), pair, false);
    }
}

/* The same on both sides: worth a mark while nothing in `refs` says that a poll has ever looked. */
static void judge_same(struct comparison *comparison, const struct pair *pair)
{
    const struct compare_input *input = comparison->input;
    bool is_told = pair->known->state->polled;
    for (size_t i = 0; i < input->branch_count + input->tag_count && !is_told; i++) {
        const struct pattern_state *pattern = &comparison->patterns[i];
        if (!pattern->is_marked && !pattern->has_new && ref_matches(input, i, pair->row->ref)) {
            change_add(comparison, creation_kind(pair->row->ref), pair, true);
            is_told = true;
        }
    }
}

static void judge_moved(struct comparison *comparison, const struct pair *pair)
{
    bool is_tag = text_starts_with(pair->row->ref, tags);
    if (!leads_back(pair->known->state, pair->row->commit) || is_settled(comparison, pair->known)) {
        change_add(comparison, is_tag ? EVENT_TAG_MOVED : EVENT_BRANCH_UPDATED, pair, false);
    }
}

static void pair_visit(const char *ref, void *value, void *context)
{
    (void)ref;
    struct comparison *comparison = context;
    const struct pair *pair = value;
    const char *commit = pair->known != NULL ? pair->known->state->commit : NULL;
    if (pair->known != NULL && pair->known->age_ms < comparison->input->look_ms) {
        comparison->changes->unsettled++;
        return;
    }
    if (pair->row == NULL) {
        if (commit != NULL && is_settled(comparison, pair->known)) {
            change_add(comparison, EVENT_REF_DELETED, pair, false);
        }
    } else if (commit == NULL) {
        judge_new(comparison, pair);
    } else if (strcmp(commit, pair->row->commit) == 0) {
        judge_same(comparison, pair);
    } else {
        judge_moved(comparison, pair);
    }
}

void compare(const struct compare_input *input, struct compare_changes *ret_changes)
{
    *ret_changes = (struct compare_changes){0};
    struct comparison comparison = {.input = input, .changes = ret_changes};
    pairs_fill(&comparison);
    patterns_fill(&comparison);
    index_each(&comparison.pairs, new_visit, &comparison);
    index_each(&comparison.pairs, pair_visit, &comparison);
    index_clear(&comparison.pairs, free);
    free(comparison.patterns);
}

/* --- twice --- */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool compare_is_same(const struct compare_change *a, const struct compare_change *b)
{
    return a->kind == b->kind && a->generation == b->generation && a->is_baseline == b->is_baseline &&
           strcmp(a->ref, b->ref) == 0 && same_text(a->before, b->before) && same_text(a->after, b->after);
}

void compare_change_clear(struct compare_change *change)
{
    free(change->ref);
    free(change->before);
    free(change->after);
    *change = (struct compare_change){0};
}

/* Both are in the order of their refs, one change of each. */
void compare_confirm(const struct compare_changes *earlier, struct compare_changes *changes)
{
    struct compare_change *items = changes->items.items;
    const struct compare_change *before = earlier->items.items;
    size_t kept = 0;
    size_t at = 0;
    for (size_t i = 0; i < changes->items.count; i++) {
        while (at < earlier->items.count && strcmp(before[at].ref, items[i].ref) < 0) {
            at++;
        }
        if (at < earlier->items.count && compare_is_same(&before[at], &items[i])) {
            items[kept++] = items[i];
        } else {
            compare_change_clear(&items[i]);
        }
    }
    changes->items.count = kept;
}

void compare_clear(struct compare_changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        compare_change_clear((struct compare_change *)changes->items.items + i);
    }
    free(changes->items.items);
    *changes = (struct compare_changes){0};
}
