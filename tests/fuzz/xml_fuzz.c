#include "workers/common/aws/xml.h"

#include "tests/fuzz/fuzz.h"
#include "workers/common/aws/failure.h"

struct seen {
    char *first_path; /* of the first element that was told, and its text */
    char *first_text;
    char *last_path;
    size_t count;
};

static void on_element(void *context, const struct xml_element *element)
{
    struct seen *seen = context;
    size_t depth = 1;
    for (const char *at = element->path; *at != '\0'; at++) {
        depth += *at == '/';
    }
    PROMISE(element->path[0] != '\0' && depth <= XML_DEPTH_MAXIMUM);
    PROMISE(element->text.len <= XML_TEXT_MAXIMUM_BYTES && element->text.ptr[element->text.len] == '\0');
    PROMISE(strlen(element->text.ptr) == element->text.len);
    if (seen->count++ == 0) {
        seen->first_path = text_copy(element->path);
        seen->first_text = text_copy(element->text.ptr);
    }
    free(seen->last_path);
    seen->last_path = text_copy(element->path);
}

/* Of a document that is read, the last element is the root, and the first one is found at its path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice document = slice_from(data, size);
    struct seen seen = {0};
    struct error err = {0};
    AUTO(buffer) struct buffer root;
    AUTO(buffer) struct buffer text;
    buffer_init(&root, 1024);
    buffer_init(&text, XML_TEXT_MAXIMUM_BYTES);
    bool is_read = xml_read(document, on_element, &seen, &err);
    bool has_root = xml_root(document, &root);
    PROMISE(is_read || err.action == ERROR_REJECT);
    PROMISE(has_root == (seen.count > 0));
    if (is_read) {
        PROMISE(strcmp(root.ptr, seen.last_path) == 0);
        PROMISE(xml_text_at(document, seen.first_path, &text));
        PROMISE(strcmp(text.ptr, seen.first_text) == 0);
        /* Of what cannot be read the first tag decides. */
        bool is_error = strcmp(root.ptr, "Error") == 0 || strcmp(root.ptr, "ErrorResponse") == 0;
        PROMISE(failure_is_in_body(document) == is_error);
    }
    free(seen.first_path);
    free(seen.first_text);
    free(seen.last_path);
    return 0;
}
