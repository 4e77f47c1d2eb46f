#include "workers/common/aws/role.h"

#include "workers/common/aws/source.h"
#include "workers/common/aws/sts.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGION_DEFAULT "us-east-1"

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
    struct role_wait *main_wait; /* for the main credentials, to assume the role with */
    char *main_access_key;       /* the key that the role was asked for with, last */
    struct sts_call *call;
    struct source_call *source;
    struct role_wait *waits; /* the last first */
    struct role_wait *told;  /* those that are being answered just now and have not been called yet */
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
    struct profile_files *files;
    char *session_name;
    char *region;
    int64_t duration_seconds;
    struct limiter *limiter;
    size_t entries_maximum;
    struct index entries;
    struct entry *main; /* never makes room for others */
    struct roles_statistics statistics;
};

struct roles *roles_new(struct aws_client *client, const struct roles_settings *settings)
{
    struct roles *roles = memory_zeroed(1, sizeof(*roles));
    roles->client = client;
    roles->files = profile_files_new();
    roles->main = memory_zeroed(1, sizeof(*roles->main));
    roles->main->roles = roles;
    roles->main->profile = text_copy_or_null(settings->main_profile);
    roles->session_name = text_copy(settings->session_name != NULL ? settings->session_name : "tagfleet");
    roles->region = text_copy(settings->region != NULL ? settings->region : REGION_DEFAULT);
    roles->limiter =
        limiter_new(aws_client_loop(client),
                    settings->calls_per_second > 0 ? settings->calls_per_second : ROLES_CALLS_PER_SECOND_DEFAULT);
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
    role_wait_cancel(entry->main_wait);
    sts_cancel(entry->call);
    source_cancel(entry->source);
    loop_timer_cancel(aws_client_loop(entry->roles->client), entry->answering);
    waits_free(entry->waits);
    waits_free(entry->told);
    credentials_free(entry->credentials);
    free(entry->main_access_key);
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
        entry_free(roles->main);
        limiter_free(roles->limiter);
        profile_files_free(roles->files);
        free(roles->session_name);
        free(roles->region);
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
    while (entry->waits != NULL) {
        struct role_wait *wait = entry->waits;
        entry->waits = wait->next;
        wait->next = entry->told;
        entry->told = wait;
    }
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

/* A key that has arrived; what was good before stays when this one is not. */
static void entry_take(struct entry *entry, struct credentials *key)
{
    static const struct failure clock_differs = {.kind = FAILURE_CLOCK_SKEW};
    struct error err;
    if (key_is_good(key)) {
        entry_succeeded(entry, key);
        return;
    }
    (void)error_set(&err, ERROR_RETRY, "%s%.150s: by this machine's clock the new key has expired already",
                    entry->role_arn != NULL ? "AssumeRole " : "", key->origin);
    entry_failed(entry, &err, &clock_differs);
    credentials_free(key);
}

static void entry_answer_now(struct entry *entry)
{
    loop_timer_cancel(aws_client_loop(entry->roles->client), entry->answering);
    entry_answer(entry);
}

/* The server refuses the main key itself; whoever renews it has perhaps done so by the next question. */
static void main_key_drop(struct roles *roles, const char *access_key)
{
    struct entry *main = roles->main;
    if (main->credentials != NULL && strcmp(main->credentials->access_key, access_key) == 0) {
        credentials_free(main->credentials);
        main->credentials = NULL;
    }
}

static void entry_assumed(void *context, struct sts_result *result)
{
    struct entry *entry = context;
    const struct failure *failure = &result->result->failure;
    entry->call = NULL;
    if (result->credentials != NULL) {
        entry_take(entry, TAKE(result->credentials));
    } else {
        entry_failed(entry, &result->result->err, failure);
    }
    if (failure->kind == FAILURE_EXPIRED_TOKEN || failure->kind == FAILURE_BAD_CREDENTIALS) {
        main_key_drop(entry->roles, entry->main_access_key);
    }
    entry_answer_now(entry);
}

static void entry_assume(struct entry *entry, const struct credentials *caller)
{
    struct roles *roles = entry->roles;
    struct sts_assume_role_request request = {
        .region = entry->region,
        .role_arn = entry->role_arn,
        .session_name = roles->session_name,
        .external_id = entry->external_id,
        .session_policy = entry->session_policy,
        .duration_seconds = roles->duration_seconds,
        .caller = caller,
        .limiter = roles->limiter,
        .deadline_ms = clock_monotonic_ms() + CALL_TIMEOUT_MS,
    };
    free(entry->main_access_key);
    entry->main_access_key = text_copy(caller->access_key);
    roles->statistics.calls++;
    entry->call = sts_assume_role(roles->client, &request, entry_assumed, entry);
}

static void entry_has_main(void *context, const struct role_answer *answer)
{
    struct entry *entry = context;
    entry->main_wait = NULL;
    if (answer->credentials != NULL) {
        entry_assume(entry, answer->credentials);
        return;
    }
    struct error err = answer->err;
    (void)error_prefix(&err, "AssumeRole %.150s needs the main account's credentials", entry->role_arn);
    entry_failed(entry, &err, &answer->failure);
    entry_answer_later(entry);
}

static void entry_sourced(void *context, struct source_result *result)
{
    struct entry *entry = context;
    entry->source = NULL;
    if (result->credentials != NULL) {
        entry_take(entry, TAKE(result->credentials));
    } else {
        entry_failed(entry, &result->err, &result->failure);
    }
    entry_answer_now(entry);
}

static void entry_find_source(struct entry *entry)
{
    struct roles *roles = entry->roles;
    struct source_settings settings = {.region = roles->region,
                                       .session_name = roles->session_name,
                                       .duration_seconds = roles->duration_seconds,
                                       .limiter = roles->limiter};
    struct chain *chain;
    struct error err;
    if (chain_find(roles->files, entry->profile, &chain, &err)) {
        entry->source = source_ask(roles->client, chain, &settings, entry_sourced, entry);
        return;
    }
    entry_failed(entry, &err, NULL);
    entry_answer_later(entry);
}

static bool entry_is_asking(const struct entry *entry)
{
    return entry->main_wait != NULL || entry->call != NULL || entry->source != NULL;
}

static bool entry_has_failed_lately(const struct entry *entry)
{
    return entry->failures > 0 && clock_monotonic_ms() < entry->failed_until;
}

/* With a good key nobody waits for its successor. */
static bool entry_can_answer(const struct entry *entry)
{
    return entry_is_good(entry) || entry_has_failed_lately(entry);
}

static bool entry_must_ask(const struct entry *entry)
{
    bool may_ask = !entry_is_asking(entry) && entry->answering == NULL && !entry_has_failed_lately(entry);
    return may_ask && (!entry_is_good(entry) || entry_wants_refresh(entry));
}

static struct role_wait *
entry_add_wait(struct entry *entry, void (*on_answer)(void *context, const struct role_answer *answer), void *context)
{
    struct role_wait *wait = memory_zeroed(1, sizeof(*wait));
    *wait = (struct role_wait){entry, entry->waits, on_answer, context};
    entry->waits = wait;
    return wait;
}

static void entry_ask_main(struct entry *entry)
{
    struct entry *main = entry->roles->main;
    entry->main_wait = entry_add_wait(main, entry_has_main, entry);
    if (entry_must_ask(main)) {
        entry_find_source(main);
    }
    if (entry_can_answer(main)) {
        entry_answer_later(main);
    }
}

static void oldest_visit(const char *key, void *value, void *context)
{
    (void)key;
    struct entry *entry = value;
    struct entry **oldest = context;
    bool is_idle = !entry_is_asking(entry) && entry->waits == NULL && entry->answering == NULL && !entry->is_telling;
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
    if (request->profile == NULL && request->role_arn == NULL) {
        return roles->main;
    }
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
    struct role_wait *wait = entry_add_wait(entry, on_answer, context);
    roles->statistics.hits += entry_can_answer(entry);
    if (entry_must_ask(entry) && entry->role_arn != NULL) {
        entry_ask_main(entry);
    } else if (entry_must_ask(entry)) {
        entry_find_source(entry);
    }
    if (entry_can_answer(entry)) {
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
