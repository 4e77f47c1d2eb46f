#include "workers/common/aws/role.h"

#include "workers/common/aws/sts.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES_DEFAULT = 20000,
    DURATION_DEFAULT_S = 3600,
    CALL_TIMEOUT_MS = 30000,
    REFRESH_EARLY_MS = 300000, /* a new key is asked for this long before the old one ends, at the latest */
    REFRESH_JITTER_MS = 120000,
    USABLE_MINIMUM_MS = 30000, /* a key that ends sooner is not handed out any more */
    FAILURE_FIRST_MS = 1000,
    FAILURE_MAXIMUM_MS = 60000,
};

/* What is known of one way to get credentials. */
struct entry {
    struct roles *roles;
    char *key;
    char *profile;
    char *role_arn;
    char *external_id;
    char *region;
    char *session_policy;
    struct credentials *credentials; /* NULL: none yet */
    int64_t refresh_at_wall_ms;
    struct error err; /* of the last failure */
    struct failure failure;
    unsigned failures;    /* in a row */
    int64_t failed_until; /* monotonic: until then the failure is answered from memory */
    int64_t used_at_ms;
    struct sts_call *call;
    struct role_wait *waits;
    struct role_wait *told; /* those that are being answered just now and have not been called yet */
    bool is_telling;
    struct loop_timer *answering;
};

struct role_wait {
    struct entry *entry;
    struct role_wait *next;
    void (*on_answer)(void *context, const struct role_answer *answer);
    void *context;
};

struct roles {
    struct aws_client *client;
    char *main_profile;
    char *session_name;
    int64_t duration_seconds;
    size_t entries_maximum;
    struct index entries;
    struct credentials *main; /* read when first needed */
    struct roles_statistics statistics;
};

struct roles *roles_new(struct aws_client *client, const struct roles_settings *settings)
{
    struct roles *roles = memory_zeroed(1, sizeof(*roles));
    roles->client = client;
    roles->main_profile = text_copy_or_null(settings->main_profile);
    roles->session_name = text_copy(settings->session_name != NULL ? settings->session_name : "tagfleet");
    roles->duration_seconds = settings->duration_seconds > 0 ? settings->duration_seconds : DURATION_DEFAULT_S;
    roles->entries_maximum = settings->entries_maximum > 0 ? settings->entries_maximum : ENTRIES_DEFAULT;
    return roles;
}

static void waits_free(struct role_wait *waits)
{
    while (waits != NULL) {
        struct role_wait *wait = waits;
        waits = wait->next;
        free(wait);
    }
}

static void entry_free(void *value)
{
    struct entry *entry = value;
    sts_cancel(entry->call);
    loop_timer_cancel(aws_client_loop(entry->roles->client), entry->answering);
    waits_free(entry->waits);
    waits_free(entry->told);
    credentials_free(entry->credentials);
    free(entry->key);
    free(entry->profile);
    free(entry->role_arn);
    free(entry->external_id);
    free(entry->region);
    free(entry->session_policy);
    free(entry);
}

void roles_free(struct roles *roles)
{
    if (roles != NULL) {
        index_clear(&roles->entries, entry_free);
        credentials_free(roles->main);
        free(roles->main_profile);
        free(roles->session_name);
        free(roles);
    }
}

static bool key_is_good(const struct credentials *key)
{
    return key != NULL && (key->expires_wall_ms == 0 || key->expires_wall_ms - clock_wall_ms() > USABLE_MINIMUM_MS);
}

static bool entry_is_good(const struct entry *entry)
{
    return key_is_good(entry->credentials);
}

static bool entry_wants_refresh(const struct entry *entry)
{
    return entry->credentials != NULL && entry->credentials->expires_wall_ms != 0 &&
           clock_wall_ms() >= entry->refresh_at_wall_ms;
}

/* Answers everybody who waits: with the key if there is a good one, else with the failure. */
static void entry_answer(void *context)
{
    struct entry *entry = context;
    struct role_answer answer = {.credentials = entry_is_good(entry) ? entry->credentials : NULL};
    entry->answering = NULL;
    if (answer.credentials == NULL) {
        answer.err = entry->err;
        answer.failure = entry->failure;
        answer.retry_in_ms = entry->failed_until - clock_monotonic_ms();
        answer.retry_in_ms = answer.retry_in_ms > 0 ? answer.retry_in_ms : 0;
    }
    /* What is asked during the answers waits for the next ones, and what is cancelled during them is not called. The
     * entry stays meanwhile, but its key may be dropped. */
    entry->told = TAKE(entry->waits);
    entry->is_telling = true;
    struct credentials *kept = answer.credentials != NULL ? credentials_copy(answer.credentials) : NULL;
    answer.credentials = kept;
    while (entry->told != NULL) {
        struct role_wait *wait = entry->told;
        entry->told = wait->next;
        wait->on_answer(wait->context, &answer);
        free(wait);
    }
    entry->is_telling = false;
    credentials_free(kept);
}

static void entry_answer_later(struct entry *entry)
{
    if (entry->answering == NULL) {
        entry->answering = loop_after(aws_client_loop(entry->roles->client), 0, entry_answer, entry);
    }
}

static void entry_succeeded(struct entry *entry, struct credentials *credentials)
{
    credentials_free(entry->credentials);
    entry->credentials = credentials;
    entry->failures = 0;
    entry->failed_until = 0;
    int64_t early_ms = REFRESH_EARLY_MS + backoff_ms(0, REFRESH_JITTER_MS, REFRESH_JITTER_MS);
    int64_t left_ms = credentials->expires_wall_ms - clock_wall_ms();
    entry->refresh_at_wall_ms = credentials->expires_wall_ms - (early_ms < left_ms / 2 ? early_ms : left_ms / 2);
}

static void entry_failed(struct entry *entry, const struct error *err, const struct failure *failure)
{
    int64_t pause_ms = FAILURE_FIRST_MS;
    for (unsigned i = 0; i < entry->failures && pause_ms < FAILURE_MAXIMUM_MS; i++) {
        pause_ms *= 2;
    }
    entry->err = *err;
    entry->failure = failure != NULL ? *failure : (struct failure){0};
    entry->failures++;
    entry->failed_until = clock_monotonic_ms() + (pause_ms < FAILURE_MAXIMUM_MS ? pause_ms : FAILURE_MAXIMUM_MS);
    entry->roles->statistics.failures++;
}

static void entry_assumed(void *context, struct sts_result *result)
{
    static const struct failure clock_differs = {.kind = FAILURE_CLOCK_SKEW};
    struct entry *entry = context;
    struct roles *roles = entry->roles;
    const struct failure *failure = &result->result->failure;
    entry->call = NULL;
    if (key_is_good(result->credentials)) {
        entry_succeeded(entry, TAKE(result->credentials));
    } else if (result->credentials != NULL) {
        struct error err;
        (void)error_set(&err, ERROR_RETRY, "AssumeRole %.150s: by this machine's clock the new key has expired already",
                        entry->role_arn);
        entry_failed(entry, &err, &clock_differs);
    } else {
        entry_failed(entry, &result->result->err, failure);
    }
    if (failure->kind == FAILURE_EXPIRED_TOKEN || failure->kind == FAILURE_BAD_CREDENTIALS) {
        /* The caller's own key is meant; whoever renews it has perhaps done so by the next question. */
        credentials_free(roles->main);
        roles->main = NULL;
    }
    loop_timer_cancel(aws_client_loop(roles->client), entry->answering);
    entry_answer(entry);
}

static bool roles_main(struct roles *roles, struct error *err)
{
    return roles->main != NULL || credentials_find(roles->main_profile, &roles->main, err);
}

/* Reads or asks for the key. What is read at once is answered in the next turn, like the rest. */
static void entry_fetch(struct entry *entry)
{
    struct roles *roles = entry->roles;
    struct error err;
    struct credentials *found = NULL;
    if (entry->role_arn == NULL) {
        bool is_found = entry->profile != NULL ? credentials_from_profile(entry->profile, &found, &err)
                                               : credentials_find(roles->main_profile, &found, &err);
        if (is_found) {
            entry_succeeded(entry, found);
        } else {
            entry_failed(entry, &err, NULL);
        }
        entry_answer_later(entry);
        return;
    }
    if (!roles_main(roles, &err)) {
        (void)error_prefix(&err, "AssumeRole %.150s needs the main account's credentials", entry->role_arn);
        entry_failed(entry, &err, NULL);
        entry_answer_later(entry);
        return;
    }
    struct sts_assume_role_request request = {
        .region = entry->region,
        .role_arn = entry->role_arn,
        .session_name = roles->session_name,
        .external_id = entry->external_id,
        .session_policy = entry->session_policy,
        .duration_seconds = roles->duration_seconds,
        .caller = roles->main,
        .deadline_ms = clock_monotonic_ms() + CALL_TIMEOUT_MS,
    };
    roles->statistics.calls++;
    entry->call = sts_assume_role(roles->client, &request, entry_assumed, entry);
}

static void oldest_visit(const char *key, void *value, void *context)
{
    (void)key;
    struct entry *entry = value;
    struct entry **oldest = context;
    bool is_idle = entry->call == NULL && entry->waits == NULL && entry->answering == NULL && !entry->is_telling;
    if (is_idle && (*oldest == NULL || entry->used_at_ms < (*oldest)->used_at_ms)) {
        *oldest = entry;
    }
}

static void roles_make_room(struct roles *roles)
{
    struct entry *oldest = NULL;
    if (roles->entries.count >= roles->entries_maximum) {
        index_each(&roles->entries, oldest_visit, &oldest);
    }
    if (oldest != NULL) {
        (void)index_remove(&roles->entries, slice_of(oldest->key));
        entry_free(oldest);
    }
}

static char *request_key(const struct role_request *request)
{
    return text_format(
        "%s\n%s\n%s\n%s\n%s", request->profile != NULL ? request->profile : "",
        request->role_arn != NULL ? request->role_arn : "", request->external_id != NULL ? request->external_id : "",
        request->region != NULL ? request->region : "", request->session_policy != NULL ? request->session_policy : "");
}

static struct entry *roles_find(const struct roles *roles, const struct role_request *request)
{
    AUTO(text) char *key = request_key(request);
    return index_get(&roles->entries, slice_of(key));
}

static struct entry *roles_entry(struct roles *roles, const struct role_request *request)
{
    struct entry *entry = roles_find(roles, request);
    if (entry == NULL) {
        roles_make_room(roles);
        entry = memory_zeroed(1, sizeof(*entry));
        entry->roles = roles;
        entry->key = request_key(request);
        entry->profile = text_copy_or_null(request->profile);
        entry->role_arn = text_copy_or_null(request->role_arn);
        entry->external_id = text_copy_or_null(request->external_id);
        entry->region = text_copy_or_null(request->region);
        entry->session_policy = text_copy_or_null(request->session_policy);
        index_put(&roles->entries, slice_of(entry->key), entry);
    }
    entry->used_at_ms = clock_monotonic_ms();
    return entry;
}

struct role_wait *roles_get(struct roles *roles, const struct role_request *request,
                            void (*on_answer)(void *context, const struct role_answer *answer), void *context)
{
    struct entry *entry = roles_entry(roles, request);
    struct role_wait *wait = memory_zeroed(1, sizeof(*wait));
    *wait = (struct role_wait){entry, entry->waits, on_answer, context};
    entry->waits = wait;
    bool has_failed_lately = entry->failures > 0 && clock_monotonic_ms() < entry->failed_until;
    bool may_ask = entry->call == NULL && entry->answering == NULL && !has_failed_lately;
    if (may_ask && (!entry_is_good(entry) || entry_wants_refresh(entry))) {
        entry_fetch(entry);
    }
    if (entry_is_good(entry) || has_failed_lately) {
        /* With a good key nobody waits for its successor. */
        roles->statistics.hits++;
        entry_answer_later(entry);
    }
    return wait;
}

static bool wait_remove(struct role_wait **link, struct role_wait *wait)
{
    while (*link != NULL && *link != wait) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return false;
    }
    *link = wait->next;
    free(wait);
    return true;
}

void role_wait_cancel(struct role_wait *wait)
{
    if (wait != NULL) {
        struct entry *entry = wait->entry;
        (void)(wait_remove(&entry->waits, wait) || wait_remove(&entry->told, wait));
    }
}

const struct credentials *roles_peek(struct roles *roles, const struct role_request *request)
{
    const struct entry *entry = roles_find(roles, request);
    return entry != NULL && entry_is_good(entry) && !entry_wants_refresh(entry) ? entry->credentials : NULL;
}

void roles_forget(struct roles *roles, const struct role_request *request, const struct credentials *expired)
{
    struct entry *entry = roles_find(roles, request);
    if (entry != NULL && entry->credentials != NULL &&
        strcmp(entry->credentials->access_key, expired->access_key) == 0) {
        credentials_free(entry->credentials);
        entry->credentials = NULL;
    }
}

void roles_statistics_read(const struct roles *roles, struct roles_statistics *ret_statistics)
{
    *ret_statistics = roles->statistics;
    ret_statistics->entries = roles->entries.count;
}
