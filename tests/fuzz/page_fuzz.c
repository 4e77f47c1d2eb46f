#include "producer/api/api_host.h"

#include "tests/fuzz/fuzz.h"

/* A byte for host and kind, the Link header up to the first line feed, then the body. Whatever a host sends, what is
 * read are refs and commits that a message can hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const providers[] = {"github", "gitlab", "gitea", "bitbucket", "bitbucket-server"};
    if (size < 1) {
        return 0;
    }
    const struct api_host *host = api_host_named(providers[(data[0] >> 1) % 5]);
    enum ref_kind kind = data[0] % 2 == 0 ? REF_TAG : REF_BRANCH;
    struct slice rest = slice_from(data + 1, size - 1);
    const char *end = rest.len > 0 ? memchr(rest.ptr, '\n', rest.len) : NULL;
    size_t link_len = end != NULL ? (size_t)(end - rest.ptr) : 0;
    AUTO(text) char *target = host->first_page("acme/app", kind);
    struct page_answer answer = {
        .kind = kind,
        .target = target,
        .body = slice_from(rest.ptr + link_len + (end != NULL), rest.len - link_len - (end != NULL)),
        .link = slice_from(link_len > 0 ? rest.ptr : NULL, link_len),
        .next_page = data[0] > 127 ? slice_from(rest.ptr, link_len) : slice_of(NULL),
        .total = data[0] > 63 ? slice_from(rest.ptr, link_len) : slice_of(NULL),
    };
    struct page page = {0};
    struct error err = {0};
    bool is_read = host->read_page(&answer, &page, &err);
    PROMISE(is_read || err.action == ERROR_REJECT);
    for (size_t i = 0; i < page.rows.count; i++) {
        const struct page_row *row = (const struct page_row *)page.rows.items + i;
        PROMISE(check_ref(row->ref) == NULL);
        PROMISE(check_commit(row->commit) == NULL);
        PROMISE(text_starts_with(row->ref, kind == REF_TAG ? "refs/tags/" : "refs/heads/"));
    }
    page_clear(&page);
    return 0;
}
