#include "producer/status/outlook.h"

#include <inttypes.h>
#include <stdio.h>

void outlook_count(struct commit_status *status, enum result_outcome outcome)
{
    int64_t *const counts[] = {
        [RESULT_SUCCEEDED] = &status->succeeded, [RESULT_UNCHANGED] = &status->unchanged,
        [RESULT_FAILED] = &status->failed,       [RESULT_SUPERSEDED] = &status->superseded,
        [RESULT_TIMED_OUT] = &status->timed_out, [RESULT_SKIPPED] = &status->skipped,
    };
    (*counts[outcome])++;
}

int64_t outlook_ended(const struct commit_status *status)
{
    return status->succeeded + status->unchanged + status->failed + status->superseded + status->timed_out +
           status->skipped;
}

bool outlook_is_over(const struct commit_status *status)
{
    return status->accounts > 0 && outlook_ended(status) >= status->accounts;
}

static const char *plural(int64_t count)
{
    return count == 1 ? "account" : "accounts";
}

/* Appends "9 succeeded, 1 unchanged": those that are not 0. */
static void tell_counts(const struct commit_status *status, bool with_superseded, struct buffer *text)
{
    const struct {
        int64_t count;
        const char *word;
    } counts[] = {
        {status->succeeded, "succeeded"},
        {status->unchanged, "unchanged"},
        {with_superseded ? status->superseded : 0, "superseded"},
        {status->skipped, "skipped"},
    };
    const char *before = ": ";
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i].count > 0) {
            buffer_append_format(text, "%s%" PRId64 " %s", before, counts[i].count, counts[i].word);
            before = ", ";
        }
    }
}

static struct outlook outlook_make(enum commit_state state, const char *text)
{
    struct outlook outlook = {.state = state};
    (void)snprintf(outlook.text, sizeof(outlook.text), "%s", text);
    return outlook;
}

static struct outlook outlook_of_end(const struct commit_status *status)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, OUTLOOK_TEXT_SIZE);
    enum commit_state state = COMMIT_SUCCESS;
    int64_t bad = status->failed + status->timed_out;
    if (bad > 0) {
        state = COMMIT_FAILURE;
        buffer_append_format(&text, "%" PRId64 " of %" PRId64 " %s failed", bad, status->accounts,
                             plural(status->accounts));
        if (status->timed_out > 0) {
            buffer_append_format(&text, " (%" PRId64 " timed out)", status->timed_out);
        }
    } else if (status->superseded > 0) {
        state = COMMIT_ERROR;
        buffer_append_format(&text, "%" PRId64 " of %" PRId64 " %s replaced by a newer deployment", status->superseded,
                             status->accounts, plural(status->accounts));
    } else {
        buffer_append_format(&text, "%" PRId64 " %s", status->accounts, plural(status->accounts));
    }
    tell_counts(status, state == COMMIT_FAILURE, &text);
    return outlook_make(state, text.ptr);
}

struct outlook outlook_of(const struct commit_status *status)
{
    if (status->waiting) {
        return outlook_make(COMMIT_PENDING, "waits for its build");
    }
    if (outlook_is_over(status)) {
        return outlook_of_end(status);
    }
    struct outlook outlook = {.state = COMMIT_PENDING};
    (void)snprintf(outlook.text, sizeof(outlook.text), "%" PRId64 " of %" PRId64 " %s", outlook_ended(status),
                   status->accounts, plural(status->accounts));
    return outlook;
}

struct outlook outlook_of_ending(const struct deployment *deployment)
{
    bool is_tag = deployment->ref != NULL && text_starts_with(deployment->ref, "refs/tags/");
    bool is_refused = deployment->outcome == DEPLOYMENT_DROPPED || deployment->outcome == DEPLOYMENT_REJECTED;
    if (!is_tag || !is_refused || deployment->reason == NULL) {
        return (struct outlook){.state = COMMIT_NONE};
    }
    return outlook_make(COMMIT_ERROR, deployment->reason);
}

const char *outlook_slot(const char *tag, const char *ref)
{
    if (tag != NULL) {
        return tag;
    }
    size_t prefix = text_starts_with(ref, "refs/heads/")  ? strlen("refs/heads/")
                    : text_starts_with(ref, "refs/tags/") ? strlen("refs/tags/")
                                                          : 0;
    return ref + prefix;
}
