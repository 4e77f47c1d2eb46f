#include "producer/poll/poll.h"

#include "producer/poll/announce.h"
#include "producer/poll/look.h"
#include "producer/poll/told.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/base/metric.h"

#include <stdlib.h>

enum {
    LOOKS_AT_ONCE = 8,
    CROWDED_DELAY_MS = 200,
    FIRST_DELAY_MAXIMUM_MS = 10 * 1000,
    BACKOFF_DOUBLINGS = 4,
    BACKOFF_MAXIMUM_MS = 60 * 60 * 1000,
};

struct polled {
    struct poll *poll;
    struct repository_settings settings;
    struct look_tools tools;
    bool *is_seen;
    struct loop_timer *timer; /* the next look; NULL: one is under way */
    struct look *look;
    struct compare_changes found; /* by the first look; empty: the next look is the first */
    bool is_confirming;
    struct told told;
    size_t unacknowledged;
    bool is_failed; /* something of this poll was not stored */
    bool is_wanted; /* poll_now was called meanwhile */
    unsigned failures;
    uint64_t succeeded_count;
    uint64_t failed_count;
    uint64_t found_count;    /* changes that no webhook had told */
    int64_t succeeded_at_ms; /* or begun, before the first time */
};

/* One change on its way to the brokers. */
struct telling {
    struct polled *polled;
    struct compare_change change;
};

struct poll {
    struct loop *loop;
    struct publisher *publisher;
    struct snapshot *snapshot;
    struct api **apis; /* one for all repositories with the same host and token */
    size_t api_count;
    struct polled *repositories;
    size_t count;
    size_t looks; /* under way */
    bool is_broken;
};

/* --- when --- */

static void poll_due(void *context);

static void poll_after(struct polled *polled, int64_t delay_ms)
{
    loop_timer_cancel(polled->poll->loop, polled->timer);
    polled->timer = loop_after(polled->poll->loop, delay_ms, poll_due, polled);
}

/* A tenth more or less, so that many repositories and producers do not keep in step. */
static int64_t with_jitter(int64_t delay_ms)
{
    int64_t tenth_ms = delay_ms / 10;
    return tenth_ms > 0 ? delay_ms - tenth_ms + backoff_ms(0, 2 * tenth_ms, 2 * tenth_ms) : delay_ms;
}

static int64_t failure_delay_ms(const struct polled *polled)
{
    unsigned doublings = polled->failures < BACKOFF_DOUBLINGS ? polled->failures : BACKOFF_DOUBLINGS;
    int64_t delay_ms = polled->settings.poll_ms << doublings;
    int64_t maximum_ms = polled->settings.poll_ms > BACKOFF_MAXIMUM_MS ? polled->settings.poll_ms : BACKOFF_MAXIMUM_MS;
    return delay_ms < maximum_ms ? delay_ms : maximum_ms;
}

static void poll_fail(struct polled *polled, const struct error *err, int64_t again_ms)
{
    compare_clear(&polled->found);
    polled->is_confirming = false;
    polled->failed_count++;
    int64_t delay_ms = with_jitter(failure_delay_ms(polled));
    if (again_ms > 0) {
        /* The host has said when; a little later, and not all at once. */
        delay_ms = again_ms + backoff_ms(0, 2000, 2000);
    } else {
        polled->failures++;
    }
    log_event(LOG_WARNING, "poll failed", "repository", polled->settings.name, "reason", err->text, "next_s",
              log_number((delay_ms + 999) / 1000), NULL);
    poll_after(polled, delay_ms);
}

static void poll_succeed(struct polled *polled)
{
    compare_clear(&polled->found);
    polled->is_confirming = false;
    polled->failures = 0;
    polled->succeeded_count++;
    polled->succeeded_at_ms = clock_monotonic_ms();
    for (size_t i = 0; i < polled->settings.branch_count + polled->settings.tag_count; i++) {
        polled->is_seen[i] = true;
    }
    int64_t soon_ms = look_times_for(polled->settings.poll_ms).confirm_ms;
    poll_after(polled, polled->is_wanted ? soon_ms : with_jitter(polled->settings.poll_ms));
    polled->is_wanted = false;
}

/* --- telling --- */

static void poll_told(struct polled *polled)
{
    struct error err;
    if (polled->is_failed) {
        (void)error_set(&err, ERROR_RETRY, "not everything that was found could be stored");
        poll_fail(polled, &err, 0);
    } else {
        poll_succeed(polled);
    }
}

static void telling_free(struct telling *telling)
{
    compare_change_clear(&telling->change);
    free(telling);
}

static void change_stored(void *context, const struct error *err)
{
    struct telling *telling = context;
    struct polled *polled = telling->polled;
    if (err == NULL) {
        polled->found_count += telling->change.is_baseline ? 0 : 1;
        told_add(&polled->told, &telling->change); /* takes it */
    } else {
        polled->is_failed = true;
        polled->poll->is_broken = polled->poll->is_broken || err->action == ERROR_FATAL;
    }
    telling_free(telling);
    if (--polled->unacknowledged == 0) {
        poll_told(polled);
    }
}

static void change_log(const struct polled *polled, const struct compare_change *change)
{
    log_event(change->is_baseline ? LOG_DEBUG : LOG_INFO,
              change->is_baseline ? "poll: was there before the first look" : "poll: no webhook has told of this",
              "repository", polled->settings.name, "ref", change->ref, "kind", event_kind_names[change->kind], "before",
              change->before, "after", change->after, NULL);
}

/* Takes the change. */
static bool change_send(struct polled *polled, struct compare_change *change, struct error *err)
{
    const struct repository_settings *settings = &polled->settings;
    AUTO(event) struct event *event = announce_event(settings->name, settings->api.provider, change);
    AUTO(output) struct output *output = message_output(&event_codec, event, "events", settings->name);
    struct telling *telling = memory_zeroed(1, sizeof(*telling));
    change_log(polled, change);
    *telling = (struct telling){polled, *change};
    *change = (struct compare_change){0};
    if (!publisher_send(polled->poll->publisher, output, change_stored, telling, err)) {
        telling_free(telling);
        return false;
    }
    polled->unacknowledged++;
    return true;
}

/* One of `unacknowledged` is ours until all are on their way. */
static void poll_tell(struct polled *polled, struct compare_changes *changes)
{
    struct error err = {0};
    size_t baseline = 0;
    polled->unacknowledged = 1;
    polled->is_failed = false;
    for (size_t i = 0; i < changes->items.count && !polled->is_failed; i++) {
        struct compare_change *change = (struct compare_change *)changes->items.items + i;
        baseline += change->is_baseline ? 1 : 0;
        polled->is_failed = !change_send(polled, change, &err);
    }
    if (baseline > 0) {
        log_event(LOG_INFO, "poll: first look, what is there is not deployed", "repository", polled->settings.name,
                  "refs", log_number((long long)baseline), NULL);
    }
    if (--polled->unacknowledged == 0) {
        poll_told(polled);
    }
}

/* --- looking --- */

static void look_log(const struct polled *polled, const struct look_end *end)
{
    log_event(end->left_out > 0 ? LOG_INFO : LOG_DEBUG, "polled", "repository", polled->settings.name, "refs",
              log_number((long long)end->rows), "left_out", log_number((long long)end->left_out), "requests",
              log_number((long long)end->requests), "unchanged", log_number((long long)end->unchanged), "differences",
              log_number((long long)end->changes->items.count), NULL);
}

static void look_done(void *context, struct look_end *end)
{
    struct polled *polled = context;
    polled->look = NULL;
    polled->poll->looks--;
    if (end->changes == NULL) {
        poll_fail(polled, &end->err, end->again_ms);
        return;
    }
    look_log(polled, end);
    told_drop(&polled->told, end->changes);
    if (polled->is_confirming) {
        compare_confirm(&polled->found, end->changes);
        poll_tell(polled, end->changes);
    } else if (end->changes->items.count > 0) {
        polled->found = *end->changes;
        *end->changes = (struct compare_changes){0};
        polled->is_confirming = true;
        poll_after(polled, look_times_for(polled->settings.poll_ms).confirm_ms);
    } else {
        poll_succeed(polled);
    }
}

static void poll_due(void *context)
{
    struct polled *polled = context;
    struct poll *poll = polled->poll;
    polled->timer = NULL;
    if (poll->looks >= LOOKS_AT_ONCE) {
        poll_after(polled, backoff_ms(0, CROWDED_DELAY_MS, CROWDED_DELAY_MS));
        return;
    }
    poll->looks++;
    polled->look = look_start(&polled->tools, polled->is_confirming, look_done, polled);
}

void poll_now(struct poll *poll, const char *repository)
{
    for (size_t i = 0; poll != NULL && i < poll->count; i++) {
        struct polled *polled = &poll->repositories[i];
        if (strcmp(polled->settings.name, repository) != 0) {
            continue;
        }
        bool is_idle = polled->timer != NULL && !polled->is_confirming;
        polled->is_wanted = !is_idle;
        if (is_idle && polled->failures == 0) {
            poll_after(polled, 0);
        }
    }
}

/* --- opening --- */

static bool poll_api(struct poll *poll, const struct api_settings *settings, struct api **ret_api, struct error *err)
{
    for (size_t i = 0; i < poll->api_count; i++) {
        if (api_has_settings(poll->apis[i], settings)) {
            *ret_api = poll->apis[i];
            return true;
        }
    }
    if (!api_open(poll->loop, settings, ret_api, err)) {
        return false;
    }
    poll->apis = memory_resized((void *)poll->apis, (poll->api_count + 1) * sizeof(struct api *));
    poll->apis[poll->api_count++] = *ret_api;
    return true;
}

static bool polled_open(struct poll *poll, const struct repository_settings *settings, struct error *err)
{
    struct polled *polled = &poll->repositories[poll->count];
    *polled = (struct polled){.poll = poll, .settings = *settings};
    polled->is_seen = memory_zeroed(settings->branch_count + settings->tag_count + 1, sizeof(bool));
    poll->count++;
    polled->tools = (struct look_tools){
        .loop = poll->loop,
        .settings = &polled->settings,
        .is_seen = polled->is_seen,
    };
    if (settings->url != NULL) {
        return true;
    }
    polled->tools.cache = listing_cache_new();
    return poll_api(poll, &settings->api, &polled->tools.api, err);
}

static bool poll_fill(struct poll *poll, const struct options *options, struct error *err)
{
    size_t count = repositories_count(options);
    poll->repositories = memory_zeroed(count + 1, sizeof(*poll->repositories));
    const char **names = memory_zeroed(count + 1, sizeof(*names));
    bool is_open = true;
    for (size_t i = 0; i < count && is_open; i++) {
        struct repository_settings settings;
        repository_at(options, i, &settings);
        if (settings.poll_ms > 0) {
            names[poll->count] = settings.name;
            is_open = polled_open(poll, &settings, err);
        }
    }
    is_open =
        is_open && (poll->count == 0 || snapshot_open(options, poll->loop, names, poll->count, &poll->snapshot, err));
    free((void *)names);
    return is_open;
}

static void poll_begin(struct polled *polled)
{
    int64_t half_ms = polled->settings.poll_ms / 2;
    int64_t latest_ms = half_ms < FIRST_DELAY_MAXIMUM_MS ? half_ms : FIRST_DELAY_MAXIMUM_MS;
    polled->tools.snapshot = polled->poll->snapshot;
    polled->succeeded_at_ms = clock_monotonic_ms();
    poll_after(polled, backoff_ms(0, latest_ms, latest_ms));
}

bool poll_open(const struct options *options, struct loop *loop, struct publisher *publisher, struct poll **ret_poll,
               struct error *err)
{
    *ret_poll = NULL;
    struct poll *poll = memory_zeroed(1, sizeof(*poll));
    poll->loop = loop;
    poll->publisher = publisher;
    bool is_open = poll_fill(poll, options, err);
    if (!is_open || poll->count == 0) {
        poll_close(poll);
        return is_open;
    }
    for (size_t i = 0; i < poll->count; i++) {
        poll_begin(&poll->repositories[i]);
    }
    log_event(LOG_INFO, "polling", "repositories", log_number((long long)poll->count), NULL);
    *ret_poll = poll;
    return true;
}

void poll_close(struct poll *poll)
{
    if (poll == NULL) {
        return;
    }
    for (size_t i = 0; i < poll->count; i++) {
        struct polled *polled = &poll->repositories[i];
        look_cancel(polled->look);
        loop_timer_cancel(poll->loop, polled->timer);
        listing_cache_free(polled->tools.cache);
        compare_clear(&polled->found);
        told_clear(&polled->told);
        free(polled->is_seen);
    }
    for (size_t i = 0; i < poll->api_count; i++) {
        api_close(poll->apis[i]);
    }
    snapshot_close(poll->snapshot);
    free((void *)poll->apis);
    free(poll->repositories);
    free(poll);
}

void poll_write_metrics(const struct poll *poll, struct buffer *text)
{
    size_t count = poll != NULL ? poll->count : 0;
    metric_begin(text, "polls_total", METRIC_COUNTER, "Polls of repositories by how they ended.");
    for (size_t i = 0; i < count; i++) {
        const struct polled *polled = &poll->repositories[i];
        const char *name = polled->settings.name;
        metric_sample(text, "polls_total", (double)polled->succeeded_count, "repository", name, "result", "ok", NULL);
        metric_sample(text, "polls_total", (double)polled->failed_count, "repository", name, "result", "failed", NULL);
    }
    metric_begin(text, "poll_found_total", METRIC_COUNTER, "Changes that no webhook had told.");
    for (size_t i = 0; i < count; i++) {
        metric_sample(text, "poll_found_total", (double)poll->repositories[i].found_count, "repository",
                      poll->repositories[i].settings.name, NULL);
    }
    metric_begin(text, "poll_interval_seconds", METRIC_GAUGE, "How often it is to be.");
    for (size_t i = 0; i < count; i++) {
        metric_sample(text, "poll_interval_seconds", (double)poll->repositories[i].settings.poll_ms / 1000,
                      "repository", poll->repositories[i].settings.name, NULL);
    }
    metric_begin(text, "poll_age_seconds", METRIC_GAUGE, "Time since a repository was last polled to the end.");
    for (size_t i = 0; i < count; i++) {
        metric_sample(text, "poll_age_seconds",
                      (double)(clock_monotonic_ms() - poll->repositories[i].succeeded_at_ms) / 1000, "repository",
                      poll->repositories[i].settings.name, NULL);
    }
}

bool poll_is_broken(const struct poll *poll)
{
    return poll != NULL && poll->is_broken;
}
