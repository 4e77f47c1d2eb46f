#include "producer/status/notice.h"

#include "workers/common/base/auto.h"

#include <stdlib.h>

static void post_clear(struct post *post)
{
    free(post->deployment);
    free(post->repository);
    free(post->ref);
    free(post->commit);
    free(post->slot);
    free(post->text);
}

static struct post *posts_at(const struct notice *notice, size_t position)
{
    return (struct post *)notice->posts.items + position;
}

void notice_free(struct notice *notice)
{
    if (notice == NULL) {
        return;
    }
    for (size_t i = 0; i < notice->posts.count; i++) {
        post_clear(posts_at(notice, i));
    }
    free(notice->posts.items);
    texts_clear(&notice->replaced);
    commit_status_free(notice->status);
    free(notice->deployment);
    free(notice);
}

static void notice_add(struct notice *notice, const struct commit_status *status, enum commit_state state,
                       const char *text, bool is_own)
{
    struct post *post = groups_add(&notice->posts, sizeof(*post));
    *post = (struct post){
        .deployment = text_copy(status->deployment),
        .repository = text_copy(status->repository),
        .ref = text_copy(status->ref),
        .commit = text_copy(status->commit),
        .slot = text_copy(outlook_slot(status->tag, status->ref)),
        .state = state,
        .text = text_copy(text),
        .decided_ms = status->decided_ms,
        .is_own = is_own,
        .is_waiting = is_own && status->waiting,
    };
}

static struct notice *notice_new(const char *deployment)
{
    struct notice *notice = memory_zeroed(1, sizeof(*notice));
    notice->deployment = text_copy(deployment);
    return notice;
}

struct notice *notice_of_nothing(const char *deployment)
{
    struct notice *notice = notice_new(deployment);
    notice->is_over = true;
    return notice;
}

/* --- of a deployment's record --- */

static struct commit_status *status_of_deployment(const struct deployment *deployment,
                                                  const struct commit_status *known)
{
    struct commit_status *status = memory_zeroed(1, sizeof(*status));
    status->deployment = text_copy(deployment->deployment);
    status->repository = text_copy(deployment->repository);
    status->ref = text_copy(deployment->ref);
    status->tag = text_copy_or_null(deployment->tag);
    status->commit = text_copy(deployment->commit);
    status->decided_ms = deployment->envelope.time_ms;
    status->waiting = deployment->outcome == DEPLOYMENT_NOTED;
    status->accounts = (int64_t)deployment->accounts.count;
    status->skipped = known != NULL ? known->skipped : 0; /* told before the record */
    return status;
}

struct waiting {
    struct notice *notice;
    const struct deployment *deployment;
    bool has_own; /* a status of the deployment's own is told */
};

/* Why what had waited for its build waits no more. */
static const char *reason_of(const struct deployment *deployment, const struct commit_status *status)
{
    if (deployment->commit == NULL) {
        return "the ref was deleted before its build was published";
    }
    if (strcmp(deployment->commit, status->commit) != 0) {
        return "replaced by a newer commit before its build was published";
    }
    return deployment->reason != NULL ? deployment->reason : "replaced by another deployment";
}

static void visit_waiting(const struct commit_status *status, void *context)
{
    const struct waiting *waiting = context;
    const struct deployment *deployment = waiting->deployment;
    if (strcmp(status->deployment, deployment->deployment) == 0 || status->decided_ms > deployment->envelope.time_ms) {
        return;
    }
    texts_add(&waiting->notice->replaced, status->deployment);
    bool is_overwritten =
        waiting->has_own && strcmp(status->commit, deployment->commit) == 0 &&
        strcmp(outlook_slot(status->tag, status->ref), outlook_slot(deployment->tag, deployment->ref)) == 0;
    if (!is_overwritten && status->state == COMMIT_PENDING) {
        notice_add(waiting->notice, status, COMMIT_ERROR, reason_of(deployment, status), false);
    }
}

struct notice *notice_of_deployment(const struct recall *recall, const struct deployment *deployment)
{
    const struct commit_status *known = recall_get(recall, deployment->deployment);
    bool is_known = known != NULL && known->decided_ms > 0;
    /* One that came too late says nothing of what waits, and nothing of its own. */
    if (is_known || deployment->repository == NULL || deployment->ref == NULL || check_ref(deployment->ref) != NULL ||
        deployment->outcome == DEPLOYMENT_SUPERSEDED) {
        return NULL;
    }
    struct notice *notice = notice_new(deployment->deployment);
    struct outlook own = {.state = COMMIT_NONE};
    AUTO(commit_status) struct commit_status *status = NULL;
    bool goes_on = deployment->outcome == DEPLOYMENT_ACCEPTED || deployment->outcome == DEPLOYMENT_NOTED;
    if (deployment->commit != NULL) {
        status = status_of_deployment(deployment, known);
        own = goes_on ? outlook_of(status) : outlook_of_ending(deployment);
    }
    struct waiting waiting = {notice, deployment, own.state != COMMIT_NONE};
    recall_each_waiting(recall, deployment->repository, deployment->ref, visit_waiting, &waiting);
    if (own.state != COMMIT_NONE) {
        notice_add(notice, status, own.state, own.text, true);
    }
    if (goes_on && status != NULL) {
        notice->is_over = outlook_is_over(status);
        notice->status = TAKE(status);
    }
    return notice;
}

/* --- of a result --- */

static struct commit_status *status_copy(const struct commit_status *known)
{
    struct commit_status *copy = memory_zeroed(1, sizeof(*copy));
    *copy = *known;
    copy->envelope = (struct envelope){0};
    copy->deployment = text_copy(known->deployment);
    copy->repository = text_copy(known->repository);
    copy->ref = text_copy(known->ref);
    copy->tag = text_copy_or_null(known->tag);
    copy->commit = text_copy(known->commit);
    copy->description = text_copy_or_null(known->description);
    return copy;
}

/* The resolver tells of the accounts it skips before it tells of their deployment. */
static struct commit_status *status_of_skipped(const struct result *result)
{
    if (result->outcome != RESULT_SKIPPED || result->repository == NULL || result->ref == NULL ||
        result->commit == NULL) {
        return NULL;
    }
    struct commit_status *status = memory_zeroed(1, sizeof(*status));
    status->deployment = text_copy(result->deployment);
    status->repository = text_copy(result->repository);
    status->ref = text_copy(result->ref);
    status->tag = text_copy_or_null(result->tag);
    status->commit = text_copy(result->commit);
    return status;
}

struct notice *notice_of_result(const struct recall *recall, const struct result *result)
{
    const struct commit_status *known = recall_get(recall, result->deployment);
    struct commit_status *status = known != NULL ? status_copy(known) : status_of_skipped(result);
    if (status == NULL) {
        return NULL;
    }
    outlook_count(status, (enum result_outcome)result->outcome);
    struct notice *notice = notice_new(result->deployment);
    notice->status = status;
    notice->is_over = outlook_is_over(status);
    if (notice->is_over) {
        struct outlook end = outlook_of(status);
        notice_add(notice, status, end.state, end.text, true);
    }
    return notice;
}

/* --- one after the other --- */

static bool is_told(const struct notice *notice, const struct post *post)
{
    const struct commit_status *status = notice->status;
    return post->is_own && status != NULL && status->state == (int)post->state && status->description != NULL &&
           strcmp(status->description, post->text) == 0;
}

static bool is_replaced(const struct recall *recall, const struct post *post)
{
    return recall_slot_ms(recall, post->repository, post->commit, post->slot) > post->decided_ms ||
           (post->is_waiting && recall_ref_ms(recall, post->repository, post->ref) > post->decided_ms);
}

static bool ends_at_once(const struct notice *notice, const struct post *post, size_t behind)
{
    const struct commit_status *status = notice->status;
    return post->is_own && post->state == COMMIT_PENDING && status->accounts > 0 &&
           outlook_ended(status) + (int64_t)behind >= status->accounts;
}

const struct post *notice_next(struct notice *notice, const struct recall *recall, size_t behind)
{
    for (; notice->position < notice->posts.count; notice->position++) {
        const struct post *post = posts_at(notice, notice->position);
        if (is_replaced(recall, post)) {
            notice->is_over = notice->is_over || post->is_waiting;
        } else if (!is_told(notice, post) && !ends_at_once(notice, post, behind)) {
            return post;
        }
    }
    return NULL;
}

const struct post *notice_at(const struct notice *notice)
{
    return notice->position < notice->posts.count ? posts_at(notice, notice->position) : NULL;
}

bool notice_has_own(const struct notice *notice)
{
    return notice->posts.count > 0 && posts_at(notice, notice->posts.count - 1)->is_own;
}

void notice_advance(struct notice *notice, bool is_posted)
{
    const struct post *post = posts_at(notice, notice->position++);
    if (is_posted && post->is_own && notice->status != NULL) {
        free(notice->status->description);
        notice->status->state = (int)post->state;
        notice->status->description = text_copy(post->text);
    }
}
