#include "producer/api/repository.h"

#include "producer/api/listing.h"
#include "producer/api/token.h"
#include "producer/poll/remote.h"
#include "workers/common/base/auto.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct option rows[] = {
    {.name = "name",
     .type = OPTION_TEXT,
     .is_required = true,
     .help = "the host's full name in lower case, such as acme/app"},
    {.name = "provider",
     .type = OPTION_CHOICE,
     .is_required = true,
     .choices = "bitbucket|github|gitlab|gitea|bitbucket-server|git",
     .help = "whose API it is; gitea for Forgejo, too; git: no API, but git ls-remote"},
    {.name = "api_url",
     .type = OPTION_TEXT,
     .help = "the host's address; not needed for github.com, gitlab.com and bitbucket.org"},
    {.name = "url",
     .type = OPTION_TEXT,
     .help = "with provider git: what git clones from, https://, ssh:// or the like"},
    {.name = "token_file",
     .type = OPTION_TEXT,
     .help = "file with a token that may read the repository, or with user:password; read anew for every request"},
    {.name = "poll",
     .type = OPTION_DURATION,
     .minimum = 1000,
     .maximum = 24 * 3600 * 1000,
     .help = "how often the host is asked for what no webhook has told, such as 5 min; without it never"},
    {.name = "branches", .type = OPTION_TEXTS, .initial = "main", .help = "branches that are looked at; * and ? match"},
    {.name = "tags", .type = OPTION_TEXTS, .initial = "v-*", .help = "tags that are looked at; * and ? match"},
    {0},
};

const struct option repository_options[] = {
    {.name = "producer.repositories",
     .type = OPTION_GROUPS,
     .group = rows,
     .help = "the repositories whose hosts are asked, or told something"},
    {0},
};

size_t repositories_count(const struct options *options)
{
    return options_groups(options, "producer.repositories");
}

void repository_at(const struct options *options, size_t position, struct repository_settings *ret_settings)
{
    const struct options *group = options_group(options, "producer.repositories", position);
    *ret_settings = (struct repository_settings){
        .name = options_text(group, "name"),
        .api = {options_text(group, "provider"), options_text(group, "api_url"), options_text(group, "token_file")},
        .url = options_text(group, "url"),
        .poll_ms = options_duration_ms(group, "poll"),
    };
    ret_settings->branch_count = options_texts(group, "branches", &ret_settings->branches);
    ret_settings->tag_count = options_texts(group, "tags", &ret_settings->tags);
}

/* --- mistakes --- */

static bool complain(struct buffer *mistakes, const struct repository_settings *settings, const char *format, ...)
    FORMAT(3);

static bool complain(struct buffer *mistakes, const struct repository_settings *settings, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    buffer_append_format(mistakes, "producer.repositories: %.256s: %s\n", settings->name, text);
    return false;
}

static bool is_git(const struct repository_settings *settings)
{
    return strcmp(settings->api.provider, "git") == 0;
}

static bool check_git(const struct repository_settings *settings, struct buffer *mistakes)
{
    bool is_valid = true;
    if (settings->api.api_url != NULL) {
        is_valid = complain(mistakes, settings, "api_url is for hosts with an API: provider git takes url");
    }
    if (settings->url == NULL) {
        return complain(mistakes, settings, "url is needed with provider git: what git clones from");
    }
    const char *wrong = remote_check_url(settings->url);
    return (wrong == NULL || complain(mistakes, settings, "url %s", wrong)) && is_valid;
}

static bool check_api(const struct repository_settings *settings, struct buffer *mistakes)
{
    bool is_valid = true;
    if (settings->url != NULL) {
        is_valid = complain(mistakes, settings, "url is for provider git: %s takes api_url", settings->api.provider);
    }
    AUTO(text) char *mistake = api_mistake(&settings->api);
    if (mistake != NULL) {
        is_valid = complain(mistakes, settings, "%s", mistake);
    }
    const char *wrong = listing_check_name(settings->api.provider, settings->name);
    return (wrong == NULL || complain(mistakes, settings, "name %s", wrong)) && is_valid;
}

static bool check_token_file(const struct repository_settings *settings, struct buffer *mistakes)
{
    struct error err;
    return settings->api.token_file == NULL || token_check(settings->api.token_file, &err) ||
           complain(mistakes, settings, "token_file: %s", err.text);
}

static bool check_patterns(const struct repository_settings *settings, struct buffer *mistakes)
{
    size_t count = settings->branch_count + settings->tag_count;
    if (settings->poll_ms > 0 && count == 0) {
        return complain(mistakes, settings, "branches and tags are both empty: there is nothing to poll");
    }
    return count <= REPOSITORY_PATTERNS_MAXIMUM ||
           complain(mistakes, settings, "%zu patterns of branches and tags, at most %d are taken", count,
                    REPOSITORY_PATTERNS_MAXIMUM);
}

static bool check_twice(const struct options *options, size_t position, const struct repository_settings *settings,
                        struct buffer *mistakes)
{
    for (size_t i = 0; i < position; i++) {
        struct repository_settings earlier;
        repository_at(options, i, &earlier);
        if (strcmp(earlier.name, settings->name) == 0) {
            return complain(mistakes, settings, "is there twice: one group takes all patterns");
        }
    }
    return true;
}

bool repositories_check(const struct options *options, struct buffer *mistakes)
{
    bool is_valid = true;
    for (size_t i = 0; i < repositories_count(options); i++) {
        struct repository_settings settings;
        repository_at(options, i, &settings);
        const char *wrong = check_repository(settings.name);
        bool is_named = wrong == NULL || complain(mistakes, &settings, "name %s", wrong);
        bool is_asked = is_git(&settings) ? check_git(&settings, mistakes) : check_api(&settings, mistakes);
        bool has_token = check_token_file(&settings, mistakes);
        bool has_patterns = check_patterns(&settings, mistakes);
        bool is_single = check_twice(options, i, &settings, mistakes);
        is_valid = is_named && is_asked && has_token && has_patterns && is_single && is_valid;
    }
    return is_valid;
}
