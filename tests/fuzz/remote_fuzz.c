#include "producer/poll/remote.h"

#include "tests/fuzz/fuzz.h"

/* What git prints, and an address: what is read can be told, and what git is given is no option and no program. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct page page = {0};
    struct error err = {0};
    bool is_read = remote_read(slice_from(data, size), &page, &err);
    PROMISE(is_read || err.action == ERROR_REJECT);
    for (size_t i = 0; i < page.rows.count; i++) {
        const struct page_row *row = (const struct page_row *)page.rows.items + i;
        PROMISE(check_ref(row->ref) == NULL);
        PROMISE(check_commit(row->commit) == NULL);
    }
    page_clear(&page);
    AUTO(text) char *url = slice_copy(slice_from(data, size));
    PROMISE(remote_check_url(url) != NULL || (url[0] != '-' && !text_starts_with(url, "ext::")));
    return 0;
}
