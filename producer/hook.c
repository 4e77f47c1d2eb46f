#include "producer/hook.h"

#include "workers/common/base/auto.h"

#include <stdlib.h>

enum { NAME_MAXIMUM = 64, RATE_MAXIMUM = 100000, PUSHED_MAXIMUM = 20000 };

static const char path_prefix[] = "/hooks/";

const struct option hook_options[] = {
    {.name = "name", .type = OPTION_TEXT, .is_required = true, .help = "the hook's path is /hooks/<name>"},
    {.name = "provider", .type = OPTION_TEXT, .is_required = true, .help = "the host that calls it: " HOST_NAMES},
    {.name = "secret_file", .type = OPTION_TEXT, .help = "file with the secret; a second line holds the previous one"},
    {.name = "secret_env", .type = OPTION_TEXT, .help = "environment variable with the secret"},
    {.name = "unsigned",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "true: anybody who knows the path may deploy; must be said when there is no secret"},
    {.name = "spool",
     .type = OPTION_CHOICE,
     .initial = "auto",
     .choices = "auto|yes|no",
     .help =
         "keep deliveries in producer.spool while the brokers are away; auto: when the host never sends again what was "
         "answered 503"},
    {.name = "allow", .type = OPTION_TEXTS, .help = "networks that may call it; without: everybody"},
    {.name = "rate",
     .type = OPTION_INTEGER,
     .initial = "200",
     .minimum = 0,
     .maximum = RATE_MAXIMUM,
     .help = "genuine deliveries a second; what comes faster is answered 503; 0: any number"},
    {.name = "status",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "true: tagfleet notifier tells this host how deployments stand, as statuses of their commits"},
    {.name = "api_url",
     .type = OPTION_TEXT,
     .help = "with status: the host's address; not needed for github.com, gitlab.com and bitbucket.org"},
    {.name = "token_file",
     .type = OPTION_TEXT,
     .help = "with status: file with a token that may set statuses, or with user:password; read for every request"},
    {.name = "repositories",
     .type = OPTION_TEXTS,
     .initial = "*",
     .help = "with status: whose; * and ? match, and the first hook that matches is told"},
    {0},
};

const char *const hook_outcome_names[HOOK_OUTCOME_COUNT] = {
    "stored",   "spooled",       "nothing_to_do", "not_stored",    "wrong_method",
    "not_json", "wrong_address", "not_genuine",   "not_a_payload", "too_often",
};

static bool name_is_plain(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MAXIMUM && strspn(name, allowed) == length;
}

static bool secrets_read(const struct hook *hook, struct secrets *secrets, struct error *err)
{
    if (hook->secret_file != NULL && !secrets_read_file(hook->secret_file, secrets, err)) {
        return false;
    }
    if (hook->secret_variable != NULL) {
        const char *secret = getenv(hook->secret_variable);
        if (secret == NULL || secret[0] == '\0') {
            return error_set(err, ERROR_FATAL, "the environment has no %s", hook->secret_variable);
        }
        secrets_add(secrets, slice_of(secret));
    }
    return signature_signing_secrets_are_whole(secrets) ||
           error_set(err, ERROR_FATAL, "a secret begins with whsec_, but no key in base64 follows");
}

/* Only a host that sends a delivery again when it was answered 503 can be left to do so. */
static bool hook_may_spool(const struct hook *hook, const char *wanted)
{
    return strcmp(wanted, "yes") == 0 || (strcmp(wanted, "auto") == 0 && !hook->host->sends_again);
}

static bool hook_read(const struct options *group, struct hook *hook, struct error *err)
{
    hook->name = options_text(group, "name");
    hook->host = host_named(options_text(group, "provider"));
    hook->is_unsigned = options_boolean(group, "unsigned");
    hook->secret_file = options_text(group, "secret_file");
    hook->secret_variable = options_text(group, "secret_env");
    int64_t per_second = options_integer(group, "rate");
    hook->rate = rate_new((double)per_second, (double)per_second);
    const char *const *allowed;
    size_t allowed_count = options_texts(group, "allow", &allowed);
    if (!name_is_plain(hook->name)) {
        return error_set(err, ERROR_FATAL, "a name is 1 to %d letters, digits, \"-\", \"_\" and \".\"", NAME_MAXIMUM);
    }
    if (hook->host == NULL) {
        return error_set(err, ERROR_FATAL, "provider %s is not known; known are " HOST_NAMES,
                         options_text(group, "provider"));
    }
    hook->may_spool = hook_may_spool(hook, options_text(group, "spool"));
    if (!secrets_read(hook, &hook->secrets, err) || !networks_parse(allowed, allowed_count, &hook->allowed, err)) {
        return false;
    }
    if (hook->secrets.count == 0 && !hook->is_unsigned) {
        return error_set(err, ERROR_FATAL, "secret_file or secret_env is needed, or unsigned = true");
    }
    return (hook->secrets.count == 0 || !hook->is_unsigned) ||
           error_set(err, ERROR_FATAL, "it has a secret and says unsigned = true: which is it?");
}

bool hooks_read(const struct options *options, struct hooks *ret_hooks, struct buffer *mistakes)
{
    size_t count = options_groups(options, "producer.hooks");
    size_t before = mistakes->len;
    *ret_hooks = (struct hooks){memory_zeroed(count, sizeof(struct hook)), 0};
    for (size_t i = 0; i < count; i++) {
        struct hook *hook = &ret_hooks->items[i];
        struct error err;
        if (!hook_read(options_group(options, "producer.hooks", i), hook, &err)) {
            buffer_append_format(mistakes, "producer.hooks: hook %s: %s\n", hook->name, err.text);
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(ret_hooks->items[j].name, hook->name) == 0) {
                buffer_append_format(mistakes, "producer.hooks: hook %s: there are two of this name\n", hook->name);
            }
        }
        ret_hooks->count++;
    }
    return mistakes->len == before;
}

void hooks_clear(struct hooks *hooks)
{
    for (size_t i = 0; i < hooks->count; i++) {
        secrets_clear(&hooks->items[i].secrets);
        networks_clear(&hooks->items[i].allowed);
        index_clear(&hooks->items[i].pushed, NULL);
    }
    free(hooks->items);
    *hooks = (struct hooks){0};
}

bool hooks_reread_secrets(struct hooks *hooks, struct buffer *mistakes)
{
    size_t before = mistakes->len;
    for (size_t i = 0; i < hooks->count; i++) {
        struct hook *hook = &hooks->items[i];
        struct secrets secrets = {0};
        struct error err;
        if (secrets_read(hook, &secrets, &err)) {
            secrets_clear(&hook->secrets);
            hook->secrets = secrets;
        } else {
            secrets_clear(&secrets);
            buffer_append_format(mistakes, "hook %s: %s\n", hook->name, err.text);
        }
    }
    return mistakes->len == before;
}

/* Of what the host told twice, both deliveries are about one ref. */
bool hook_hears_twice(struct hook *hook, const struct changes *changes)
{
    const struct change *first = changes->items.items;
    if (changes->telling == TOLD_ALONE || changes->items.count == 0 || first->event == NULL) {
        return false;
    }
    struct slice repository = slice_of(first->event->repository);
    if (changes->telling == TOLD_BY_CREATION) {
        return index_get(&hook->pushed, repository) != NULL;
    }
    if (hook->pushed.count >= PUSHED_MAXIMUM) {
        index_clear(&hook->pushed, NULL);
    }
    (void)index_put(&hook->pushed, repository, hook);
    return false;
}

struct hook *hooks_find(const struct hooks *hooks, const char *path)
{
    for (size_t i = 0; text_starts_with(path, path_prefix) && i < hooks->count; i++) {
        if (strcmp(path + strlen(path_prefix), hooks->items[i].name) == 0) {
            return &hooks->items[i];
        }
    }
    return NULL;
}
