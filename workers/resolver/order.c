#include "workers/resolver/order.h"

#include "schemas/identity.h"

static bool same_commit(const char *a, const char *b)
{
    bool is_none_a = commit_is_absent(a);
    bool is_none_b = commit_is_absent(b);
    return is_none_a || is_none_b ? is_none_a && is_none_b : strcmp(a, b) == 0;
}

static const struct ref_step *step_at(const struct ref_state *state, size_t position)
{
    return (const struct ref_step *)state->steps.items + position;
}

static bool event_was_seen(const struct ref_state *state, const char *event_id)
{
    for (size_t i = 0; i < state->steps.count; i++) {
        if (strcmp(step_at(state, i)->event, event_id) == 0) {
            return true;
        }
    }
    return false;
}

static bool delivery_was_seen(const struct ref_state *state, const char *event_id, const char *delivery)
{
    for (size_t i = 0; delivery != NULL && i < state->steps.count; i++) {
        const struct ref_step *step = step_at(state, i);
        if (strcmp(step->event, event_id) == 0 && step->delivery != NULL && strcmp(step->delivery, delivery) == 0) {
            return true;
        }
    }
    return false;
}

/* The ref has been at this commit and has left it. A step that came late proves nothing: where it stood in the chain
 * was only concluded, and one wrong conclusion must not lead to the next. */
static bool commit_was_left(const struct ref_state *state, const char *commit)
{
    for (size_t i = 0; i < state->steps.count; i++) {
        const struct ref_step *step = step_at(state, i);
        if (!step->late && (same_commit(step->before, commit) || same_commit(step->after, commit))) {
            return true;
        }
    }
    return false;
}

/* The event starts where a known step ended and the next known step did not go on: it fills a hole in the past. So it
 * does when a poll found the next step, which may stand for several. */
static bool fills_a_hole(const struct ref_state *state, const char *before)
{
    for (size_t i = 0; i + 1 < state->steps.count; i++) {
        const struct ref_step *step = step_at(state, i);
        if (!step->late && !commit_is_absent(before) && same_commit(step->after, before)) {
            const struct ref_step *next = step_at(state, i + 1);
            return next->polled || !same_commit(next->before, before);
        }
    }
    return false;
}

/* The same change once more: a host that repeats itself, or a ref that really went the same way again? Only the second
 * can start from where the ref is now, and only if the host does not say that it is a repetition. */
static bool is_repetition(const struct ref_state *state, const struct event *event, const char *event_id)
{
    return event->redelivered || event->kind == EVENT_BUILD_PUBLISHED || !same_commit(event->before, state->commit) ||
           delivery_was_seen(state, event_id, event->delivery);
}

/* Of an annotated tag that is deleted, hosts name the tag object, which nothing else has told of: it is believed. */
static enum order judge_deletion(const struct ref_state *state, const struct event *event)
{
    if (state->commit == NULL) {
        return ORDER_SAME;
    }
    bool is_current = commit_is_absent(event->before) || same_commit(event->before, state->commit);
    bool is_unknown_tag = text_starts_with(event->ref, "refs/tags/") && !commit_was_left(state, event->before);
    return is_current || is_unknown_tag ? ORDER_NEXT : ORDER_OLDER;
}

/* The event leads from somewhere to somewhere, and the ref is known to have been at neither end of it lately. */
static enum order judge_by_date(const struct ref_state *state, const struct event *event, bool is_creation)
{
    bool has_dates = event->committed_ms > 0 && state->committed_ms > 0;
    if (has_dates && event->committed_ms > state->committed_ms) {
        return ORDER_NEXT;
    }
    if (is_creation) {
        /* It exists already, so it was either created long ago, or deleted in between without our knowing. Tags are
         * deleted and set again all the time, branches hardly ever. */
        return event->kind == EVENT_TAG_CREATED ? ORDER_NEXT : ORDER_OLDER;
    }
    bool is_older_commit = has_dates && event->committed_ms < state->committed_ms;
    return is_older_commit || fills_a_hole(state, event->before) ? ORDER_OLDER : ORDER_NEXT;
}

enum order order_judge(const struct ref_state *state, const struct event *event, const char *event_id)
{
    if (state == NULL) {
        return ORDER_NEXT;
    }
    if (event_was_seen(state, event_id) && is_repetition(state, event, event_id)) {
        return ORDER_DUPLICATE;
    }
    if (commit_is_absent(event->after)) {
        return judge_deletion(state, event);
    }
    if (same_commit(event->after, state->commit)) {
        return ORDER_SAME;
    }
    bool is_before_known = event->kind != EVENT_BUILD_PUBLISHED || !commit_is_absent(event->before);
    if (is_before_known && same_commit(event->before, state->commit)) {
        return ORDER_NEXT;
    }
    if (commit_was_left(state, event->after)) {
        return ORDER_OLDER;
    }
    if (state->commit == NULL) {
        return ORDER_NEXT;
    }
    return judge_by_date(state, event, is_before_known && commit_is_absent(event->before));
}

static void step_copy(struct groups *steps, const struct ref_step *from)
{
    struct ref_step *step = groups_add(steps, sizeof(*step));
    step->late = from->late;
    step->polled = from->polled;
    step->event = text_copy(from->event);
    step->before = commit_is_absent(from->before) ? NULL : text_copy(from->before);
    step->after = commit_is_absent(from->after) ? NULL : text_copy(from->after);
    step->delivery = from->delivery != NULL ? text_copy(from->delivery) : NULL;
}

static void step_add(struct groups *steps, const struct event *event, char *event_id, bool is_late)
{
    struct ref_step step = {
        .event = event_id,
        .before = event->before,
        .after = event->after,
        .delivery = event->delivery,
        .late = is_late,
        .polled = event->origin == ORIGIN_POLL,
    };
    step_copy(steps, &step);
}

/* An older event goes before all others, so that the last step is always the one that led to the present. */
static void steps_apply(const struct ref_state *state, const struct event *event, const char *event_id,
                        enum order order, struct groups *steps)
{
    AUTO(text) char *id = text_copy(event_id);
    if (order == ORDER_OLDER) {
        step_add(steps, event, id, true);
    }
    size_t count = state != NULL ? state->steps.count : 0;
    size_t skipped = count >= ORDER_STEPS_MAXIMUM ? count - ORDER_STEPS_MAXIMUM + 1 : 0;
    for (size_t i = skipped; i < count; i++) {
        step_copy(steps, step_at(state, i));
    }
    if (order == ORDER_NEXT || order == ORDER_SAME) {
        step_add(steps, event, id, false);
    }
}

/* Would the ref's deployment of this commit be taken for an earlier one? So it would when the ref is created again,
 * when it comes back to a commit that it has left, and when too much is forgotten to tell. */
static bool is_new_generation(const struct ref_state *state, const struct event *event)
{
    if (commit_is_absent(event->after)) {
        return false;
    }
    return state->commit == NULL || event->kind == EVENT_TAG_CREATED || commit_was_left(state, event->after) ||
           state->steps.count >= ORDER_STEPS_MAXIMUM;
}

struct ref_state *order_apply(const struct ref_state *state, const struct event *event, const char *event_id,
                              enum order order)
{
    struct ref_state *next = memory_zeroed(1, sizeof(*next));
    next->repository = text_copy(event->repository);
    next->ref = text_copy(event->ref);
    steps_apply(state, event, event_id, order, &next->steps);
    if (state != NULL) {
        next->generation = state->generation;
        next->deployment = text_copy_or_null(state->deployment);
        next->build = text_copy_or_null(state->build);
        next->waiting = state->waiting;
        next->polled = state->polled;
        next->baseline = state->baseline;
        next->committed_ms = state->committed_ms;
        next->commit = text_copy_or_null(state->commit);
    }
    if (order != ORDER_NEXT) {
        return next;
    }
    next->generation += state != NULL && is_new_generation(state, event) ? 1 : 0;
    free(next->commit);
    next->commit = commit_is_absent(event->after) ? NULL : text_copy(event->after);
    next->committed_ms = event->committed_ms;
    next->waiting = false;
    next->baseline = event->baseline;
    free(next->build);
    next->build = NULL;
    return next;
}
