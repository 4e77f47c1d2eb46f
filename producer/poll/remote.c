#include "producer/poll/remote.h"

#include "producer/api/token.h"
#include "workers/common/base/auto.h"
#include "workers/common/http/child.h"

#include <stdlib.h>
#include <sys/wait.h>

enum {
    OUTPUT_MAXIMUM_BYTES = 8 * 1024 * 1024,
    TIMEOUT_MS = 60 * 1000,
    ENVIRONMENT_MAXIMUM = 256,
    HEADER_MAXIMUM_BYTES = 16 * 1024,
};

struct remote {
    struct loop *loop;
    struct child *child;
    struct loop_timer *timer; /* of one that was never started */
    struct error err;
    void (*on_done)(void *context, const struct listing *listing);
    void *context;
};

/* "git@host:path", as ssh's own tools write it: a host, a colon, and no slash before it. */
static bool is_scp_like(const char *url)
{
    size_t host = strcspn(url, ":/");
    return host > 0 && url[host] == ':' && url[host + 1] != '\0' && url[host + 1] != ':' &&
           strncmp(url + host, "://", 3) != 0;
}

const char *remote_check_url(const char *url)
{
    static const char *const schemes[] = {"https://", "http://", "ssh://", "git://", "file://"};
    if (!slice_is_visible(slice_of(url))) {
        return "must be printable ASCII without blanks: encode the rest as %XX";
    }
    if (url[0] == '-') {
        return "must not begin with a dash";
    }
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (!text_starts_with(url, schemes[i])) {
            continue;
        }
        const char *host = url + strlen(schemes[i]);
        if (host[0] == '\0' || host[0] == '-') {
            return "names no host";
        }
        bool is_web = i < 2;
        bool has_user = memchr(host, '@', strcspn(host, "/")) != NULL;
        return is_web && has_user ? "must not hold a user or a password: put user:password into token_file" : NULL;
    }
    return is_scp_like(url) ? NULL
                            : "must be https://, http://, ssh://, git:// or file:// with a host or path, or "
                              "user@host:path";
}

/* --- what it prints: <commit> TAB <ref> LF --- */

/* Takes a line off the rest, without its end. */
static struct slice take_line(struct slice *rest)
{
    const char *end = memchr(rest->ptr, '\n', rest->len);
    size_t length = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    struct slice line = slice_from(rest->ptr, length);
    size_t taken = length + (end != NULL ? 1 : 0);
    *rest = slice_from(rest->ptr + taken, rest->len - taken);
    return line;
}

/* The line says of the tag before it which commit it means. */
static bool is_peeled(struct slice *name)
{
    static const char mark[] = "^{}";
    size_t length = strlen(mark);
    if (name->len <= length || memcmp(name->ptr + name->len - length, mark, length) != 0) {
        return false;
    }
    name->len -= length;
    return true;
}

static bool row_peel(struct page *page, struct slice name, struct slice commit)
{
    struct page_row *last = page->rows.count > 0 ? (struct page_row *)page->rows.items + page->rows.count - 1 : NULL;
    if (last == NULL || !slice_equal_text(name, last->ref)) {
        return false; /* its tag was left out */
    }
    free(last->commit);
    last->commit = slice_copy(commit);
    return true;
}

static bool line_read(struct slice line, struct page *page, struct error *err)
{
    const char *tab = memchr(line.ptr, '\t', line.len);
    if (tab == NULL) {
        return error_set(err, ERROR_REJECT, "git ls-remote: a line without a tab");
    }
    struct slice name = slice_from(tab + 1, line.len - (size_t)(tab + 1 - line.ptr));
    AUTO(text) char *commit = slice_copy(slice_from(line.ptr, (size_t)(tab - line.ptr)));
    if (check_commit(commit) != NULL) {
        return error_set(err, ERROR_REJECT, "git ls-remote: a line does not begin with a commit");
    }
    if (is_peeled(&name)) {
        (void)row_peel(page, name, slice_of(commit));
        return true;
    }
    AUTO(text) char *ref = slice_copy(name);
    static const char heads[] = "refs/heads/";
    static const char tags[] = "refs/tags/";
    if (strlen(ref) != name.len) {
        page->left_out++; /* a NUL */
        return true;
    }
    if (text_starts_with(ref, heads)) {
        return page_add(page, REF_BRANCH, ref + strlen(heads), commit, NULL, err);
    }
    return !text_starts_with(ref, tags) || page_add(page, REF_TAG, ref + strlen(tags), commit, NULL, err);
}

bool remote_read(struct slice output, struct page *page, struct error *err)
{
    if (output.len > 0 && output.ptr[output.len - 1] != '\n') {
        return error_set(err, ERROR_REJECT, "git ls-remote: its last line is cut");
    }
    while (output.len > 0) {
        if (!line_read(take_line(&output), page, err)) {
            return false;
        }
        if (page->rows.count > LISTING_REFS_MAXIMUM) {
            return error_set(err, ERROR_REJECT, "it has more than %d refs: more than can be compared",
                             LISTING_REFS_MAXIMUM);
        }
    }
    return true;
}

/* --- running it --- */

/* The environment of git: ours without what is none of its business (our own secrets, AWS's) and what would make it ask
 * somebody or do more than it is told. Texts are borrowed. */
static size_t environment_inherit(const char **entries)
{
    static const char *const left_out[] = {"TAGFLEET_",    "AWS_",
                                           "GIT_CONFIG",   "GIT_TERMINAL_PROMPT=",
                                           "GIT_ASKPASS=", "SSH_ASKPASS",
                                           "GIT_TRACE",    "GIT_ALLOW_PROTOCOL=",
                                           "GIT_DIR=",     "GIT_CURL_VERBOSE="};
    size_t count = 0;
    for (char **entry = environ; *entry != NULL && count < ENVIRONMENT_MAXIMUM; entry++) {
        bool is_left_out = false;
        for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
            is_left_out = is_left_out || text_starts_with(*entry, left_out[i]);
        }
        if (!is_left_out) {
            entries[count++] = *entry;
        }
    }
    return count;
}

static void remote_done(struct remote *remote, const struct listing *listing)
{
    void (*on_done)(void *context, const struct listing *listing) = remote->on_done;
    void *context = remote->context;
    loop_timer_cancel(remote->loop, remote->timer);
    free(remote);
    on_done(context, listing);
}

static bool output_take(const struct child_end *end, struct page *page, struct error *err)
{
    if (!end->is_ended) {
        *err = end->err;
    } else if (!WIFEXITED(end->status) || WEXITSTATUS(end->status) != 0) {
        (void)error_set(err, ERROR_RETRY, "git ls-remote has failed");
    } else {
        return remote_read(end->output, page, err);
    }
    child_explain(end, err);
    return false;
}

static void remote_ended(void *context, const struct child_end *end)
{
    struct remote *remote = context;
    struct page page = {0};
    const struct page *const pages[] = {&page};
    struct listing listing = {.pages = pages, .page_count = 1, .requests = 1};
    listing.is_whole = output_take(end, &page, &listing.err);
    listing.row_count = page.rows.count;
    listing.left_out = page.left_out;
    remote_done(remote, &listing);
    page_clear(&page);
}

static void remote_unstarted(void *context)
{
    struct remote *remote = context;
    struct listing listing = {.err = remote->err};
    remote->timer = NULL;
    remote_done(remote, &listing);
}

static struct child *git_start(struct remote *remote, const char *url, const char *header)
{
    enum { OWN = 12 };
    const char *entries[ENVIRONMENT_MAXIMUM + OWN];
    size_t count = environment_inherit(entries);
    AUTO(text) char *key = text_format("GIT_CONFIG_KEY_1=http.%s.extraHeader", url);
    struct buffer value;
    buffer_init(&value, HEADER_MAXIMUM_BYTES + 64);
    buffer_expect(&value, HEADER_MAXIMUM_BYTES + 64);
    buffer_append_format(&value, "GIT_CONFIG_VALUE_1=%s", header);
    entries[count++] = "GIT_TERMINAL_PROMPT=0";
    entries[count++] = "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file";
    entries[count++] = header[0] != '\0' ? "GIT_CONFIG_COUNT=2" : "GIT_CONFIG_COUNT=1";
    entries[count++] = "GIT_CONFIG_KEY_0=http.followRedirects";
    entries[count++] = "GIT_CONFIG_VALUE_0=false";
    if (header[0] != '\0') {
        entries[count++] = key;
        entries[count++] = value.ptr;
    }
    if (getenv("GIT_SSH_COMMAND") == NULL) { /* who has one of his own knows what he does */
        entries[count++] = "GIT_SSH_COMMAND=ssh -oBatchMode=yes -oConnectTimeout=10";
    }
    entries[count] = NULL;
    const char *const arguments[] = {"git", "ls-remote", "--heads", "--tags", "--", url, NULL};
    struct child_request request = {
        .arguments = arguments,
        .environment = entries,
        .folder = "/", /* no repository's own settings */
        .has_no_terminal = true,
        .output_maximum_bytes = OUTPUT_MAXIMUM_BYTES,
        .timeout_ms = TIMEOUT_MS,
    };
    struct child *child = child_start(remote->loop, &request, remote_ended, remote);
    token_wipe(&value);
    return child;
}

struct remote *remote_start(struct loop *loop, const char *url, const char *token_file,
                            void (*on_done)(void *context, const struct listing *listing), void *context)
{
    struct remote *remote = memory_zeroed(1, sizeof(*remote));
    remote->loop = loop;
    remote->on_done = on_done;
    remote->context = context;
    struct buffer header;
    buffer_init(&header, HEADER_MAXIMUM_BYTES);
    buffer_expect(&header, HEADER_MAXIMUM_BYTES);
    if (token_append_header(token_file, "Authorization: Bearer ", &header, &remote->err)) {
        remote->child = git_start(remote, url, header.ptr);
    } else {
        remote->timer = loop_after(loop, 0, remote_unstarted, remote);
    }
    token_wipe(&header);
    return remote;
}

void remote_cancel(struct remote *remote)
{
    if (remote != NULL) {
        child_cancel(remote->child);
        loop_timer_cancel(remote->loop, remote->timer);
        free(remote);
    }
}
