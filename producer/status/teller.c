#include "producer/status/teller.h"

#include "producer/status/link.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/base/metric.h"

#include <stdlib.h>

enum { COMPLAINTS_MAXIMUM = 10000, DELAY_MS = 1000, DELAY_MAXIMUM_MS = 60000 };

static const char source[] = "tagfleet/notifier";

/* What is kept with a task until all it wants to tell is told. */
struct work {
    struct teller *teller;
    struct task *task;
    struct notice *notice;
    const struct channel *channel;
    struct channel_call *call; /* NULL: waits for its turn */
    int64_t give_up_at_ms;
    unsigned failures;
};

static void work_free(struct work *work)
{
    channel_cancel(work->call);
    notice_free(work->notice);
    free(work);
}

static void forget(const struct work *work, const char *deployment)
{
    task_emit(work->task, output_new("statuses", deployment, (struct slice){0}));
    recall_put(work->teller->recall, task_record(work->task)->partition, deployment, NULL);
}

static void remember(const struct work *work, struct commit_status *status)
{
    AUTO(text)
    char *id =
        text_format("%s/%lld", status->deployment, (long long)outlook_ended(status) + (status->decided_ms > 0 ? 1 : 0));
    envelope_fill(&status->envelope, id, source, status->deployment);
    task_emit(work->task, message_output(&commit_status_codec, status, "statuses", status->deployment));
    recall_put(work->teller->recall, task_record(work->task)->partition, status->deployment, status);
}

/* All is told: what was counted becomes visible together with the message's offset. */
static void work_finish(struct work *work)
{
    struct notice *notice = work->notice;
    struct task *task = work->task;
    for (size_t i = 0; i < notice->replaced.count; i++) {
        forget(work, notice->replaced.items[i]);
    }
    if (notice->is_over) {
        if (recall_get(work->teller->recall, notice->deployment) != NULL) {
            forget(work, notice->deployment);
        }
    } else if (notice->status != NULL) {
        remember(work, TAKE(notice->status));
    }
    task_set_work(task, NULL);
    work_free(work);
    task_done(task);
}

static void log_post(enum log_level level, const char *message, const struct work *work, const struct post *post,
                     const char *reason)
{
    log_event(level, message, "hook", channel_hook(work->channel), "deployment", post->deployment, "repository",
              post->repository, "commit", post->commit, "state", commit_state_names[post->state], "reason", reason,
              NULL);
}

/* A host that says no to a repository does so for every commit of it. */
static void work_complain(const struct work *work, const struct post *post, const char *reason)
{
    struct index *complaints = &work->teller->complaints;
    AUTO(text) char *key = text_format("%s %s", channel_hook(work->channel), post->repository);
    if (index_get(complaints, slice_of(key)) != NULL) {
        return;
    }
    if (complaints->count >= COMPLAINTS_MAXIMUM) {
        index_clear(complaints, NULL);
    }
    (void)index_put(complaints, slice_of(key), complaints);
    log_post(LOG_WARNING, "the host takes no status of this repository; further ones are passed over in silence", work,
             post, reason);
}

/* False: the time for it is over. */
static bool work_wait(struct work *work, int64_t delay_ms)
{
    int64_t left_ms = work->give_up_at_ms - clock_monotonic_ms();
    if (left_ms <= 0) {
        return false;
    }
    task_retry(work->task, delay_ms < left_ms ? delay_ms : left_ms);
    return true;
}

static void work_give_up(struct work *work, const struct post *post)
{
    work->teller->counts[TELLER_GIVEN_UP]++;
    log_post(LOG_WARNING, "status given up: the host was tried for notifier.retry_for", work, post, post->text);
    notice_advance(work->notice, false);
}

static void work_go(struct work *work);

static void work_later(struct work *work, const struct post *post, const struct api_answer *answer)
{
    work->teller->counts[TELLER_PUT_OFF]++;
    if (work->failures == 0) {
        log_post(LOG_WARNING, "the host takes no status for now", work, post, answer->err.text);
    }
    int64_t delay_ms = DELAY_MS;
    for (unsigned i = 0; i < work->failures && delay_ms < DELAY_MAXIMUM_MS; i++) {
        delay_ms *= 2;
    }
    work->failures++;
    int64_t wait_ms = channel_turn_ms(work->channel);
    delay_ms = delay_ms < DELAY_MAXIMUM_MS ? delay_ms : DELAY_MAXIMUM_MS;
    if (!work_wait(work, wait_ms > delay_ms ? wait_ms : delay_ms)) {
        work_give_up(work, post);
        work_go(work);
    }
}

static void work_answered(void *context, const struct api_answer *answer)
{
    struct work *work = context;
    const struct post *post = notice_at(work->notice);
    work->call = NULL;
    if (answer->outcome == API_LIMITED || answer->outcome == API_LATER) {
        work_later(work, post, answer);
        return;
    }
    bool is_posted = answer->outcome == API_OK || answer->outcome == API_UNCHANGED;
    if (is_posted) {
        AUTO(text) char *key = text_format("%s %s", channel_hook(work->channel), post->repository);
        (void)index_remove(&work->teller->complaints, slice_of(key));
        log_post(LOG_INFO, "status posted", work, post, post->text);
    } else {
        work_complain(work, post, answer->err.text);
    }
    work->teller->counts[is_posted ? TELLER_POSTED : TELLER_REFUSED]++;
    notice_advance(work->notice, is_posted);
    work_go(work);
}

static void work_post(struct work *work, const struct post *post)
{
    struct teller *teller = work->teller;
    AUTO(text) char *context = text_format("%s/%s", teller->context, post->slot);
    AUTO(text) char *link = link_fill(teller->link, post->deployment, post->repository, post->ref, post->commit);
    struct status status = {
        .repository = post->repository,
        .commit = post->commit,
        .context = context,
        .state = post->state,
        .description = post->text,
        .link = link,
    };
    work->call = channel_post(work->channel, &status, work_answered, work);
}

/* Messages of the same deployment that wait behind this one; counted only when that decides something. */
static size_t count_behind(const struct work *work)
{
    size_t count = 0;
    if (notice_at(work->notice) == NULL) {
        return 0;
    }
    for (const struct task *behind = task_behind(work->task); behind != NULL; behind = task_behind(behind)) {
        count++;
    }
    return count;
}

/* Goes on with what is to be told: posts the next, waits for the host, or ends the task. */
static void work_go(struct work *work)
{
    for (;;) {
        const struct post *post = notice_next(work->notice, work->teller->recall, count_behind(work));
        if (post == NULL) {
            work_finish(work);
            return;
        }
        int64_t wait_ms = channel_turn_ms(work->channel);
        if (wait_ms == 0) {
            work_post(work, post);
            return;
        }
        if (work_wait(work, wait_ms)) {
            return;
        }
        work_give_up(work, post);
    }
}

void teller_clear(struct teller *teller)
{
    index_clear(&teller->complaints, NULL);
}

void teller_write_metrics(const struct teller *teller, struct buffer *text)
{
    static const char *const names[TELLER_END_COUNT] = {"posted", "put_off", "refused", "given_up"};
    metric_begin(text, "statuses_total", METRIC_COUNTER, "Commit statuses by what the host made of them.");
    for (int end = 0; end < TELLER_END_COUNT; end++) {
        metric_sample(text, "statuses_total", (double)teller->counts[end], "result", names[end], NULL);
    }
}

void teller_take(struct teller *teller, struct task *task, struct notice *notice, const struct channel *channel)
{
    struct work *work = memory_zeroed(1, sizeof(*work));
    *work = (struct work){
        .teller = teller,
        .task = task,
        .notice = notice,
        .channel = channel,
        .give_up_at_ms = clock_monotonic_ms() + teller->retry_for_ms,
    };
    task_set_work(task, work);
    work_go(work);
}

bool teller_resume(struct task *task)
{
    struct work *work = task_work(task);
    if (work == NULL) {
        return false;
    }
    work_go(work);
    return true;
}

void teller_cancel(struct task *task)
{
    work_free(task_work(task));
}

void teller_explain(const struct task *task, struct buffer *text)
{
    const struct work *work = task_work(task);
    if (work != NULL) {
        buffer_append_format(text, "the git host of hook %s", channel_hook(work->channel));
    }
}
