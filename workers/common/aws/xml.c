#include "workers/common/aws/xml.h"

#include <expat.h>

#include <string.h>

enum { PATH_MAXIMUM_BYTES = 512 };

struct reader {
    XML_Parser parser;
    void (*on_element)(void *context, const struct xml_element *element);
    void *context;
    const char *trouble; /* why the reading was stopped; NULL: expat knows, or it was not a mistake */
    bool is_stopped;
    size_t depth;
    size_t path_lens[XML_DEPTH_MAXIMUM];   /* of the path at each depth */
    size_t text_starts[XML_DEPTH_MAXIMUM]; /* where the characters of the element at each depth begin */
    struct buffer path;
    struct buffer text; /* of all open elements, one behind the other */
};

static void reader_stop(struct reader *reader, const char *trouble)
{
    if (!reader->is_stopped) {
        reader->is_stopped = true;
        reader->trouble = trouble;
        (void)XML_StopParser(reader->parser, XML_FALSE);
    }
}

static void on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *reader = context;
    (void)attributes;
    if (reader->is_stopped) {
        return;
    }
    if (reader->depth == XML_DEPTH_MAXIMUM) {
        reader_stop(reader, "elements are nested too deeply");
        return;
    }
    const char *colon = strchr(name, ':');
    if (reader->depth > 0) {
        buffer_append_char(&reader->path, '/');
    }
    buffer_append_text(&reader->path, colon != NULL && colon[1] != '\0' ? colon + 1 : name);
    if (reader->path.is_overflowed) {
        reader_stop(reader, "element names are too long");
        return;
    }
    reader->path_lens[reader->depth] = reader->path.len;
    reader->text_starts[reader->depth] = reader->text.len;
    reader->depth++;
}

static void on_end(void *context, const XML_Char *name)
{
    struct reader *reader = context;
    (void)name;
    if (reader->is_stopped || reader->depth == 0) {
        return;
    }
    reader->depth--;
    size_t start = reader->text_starts[reader->depth];
    struct xml_element element = {
        .path = reader->path.ptr,
        .text = slice_from(reader->text.ptr + start, reader->text.len - start),
    };
    reader->on_element(reader->context, &element);
    reader->text.len = start;
    reader->path.len = reader->depth > 0 ? reader->path_lens[reader->depth - 1] : 0;
    reader->path.ptr[reader->path.len] = '\0';
    if (reader->text.capacity > 0) {
        reader->text.ptr[start] = '\0';
    }
}

static void on_text(void *context, const XML_Char *characters, int len)
{
    struct reader *reader = context;
    if (reader->is_stopped || reader->depth == 0) {
        return;
    }
    buffer_append(&reader->text, slice_from(characters, (size_t)len));
    if (reader->text.is_overflowed) {
        reader_stop(reader, "an element is too long");
    }
}

static void on_doctype(void *context, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id,
                       int has_internal_subset)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal_subset;
    reader_stop(context, "a document type is not allowed");
}

static void on_entity(void *context, const XML_Char *name, int is_parameter, const XML_Char *value, int value_len,
                      const XML_Char *base, const XML_Char *system_id, const XML_Char *public_id,
                      const XML_Char *notation)
{
    (void)name;
    (void)is_parameter;
    (void)value;
    (void)value_len;
    (void)base;
    (void)system_id;
    (void)public_id;
    (void)notation;
    reader_stop(context, "an entity declaration is not allowed");
}

/* A parser costs more to make than a small document to read, so one is kept: documents are read one at a time. */
static XML_Parser parser_take(void)
{
    static XML_Parser kept;
    if (kept == NULL) {
        kept = XML_ParserCreate(NULL);
    } else if (XML_ParserReset(kept, NULL) != XML_TRUE) {
        error_out_of_memory();
    }
    if (kept == NULL) {
        error_out_of_memory();
    }
    return kept;
}

static bool reader_run(struct reader *reader, struct slice document, struct error *err)
{
    reader->parser = parser_take();
    buffer_init(&reader->path, PATH_MAXIMUM_BYTES);
    buffer_init(&reader->text, XML_TEXT_MAXIMUM_BYTES);
    XML_SetUserData(reader->parser, reader);
    XML_SetElementHandler(reader->parser, on_start, on_end);
    XML_SetCharacterDataHandler(reader->parser, on_text);
    XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
    XML_SetEntityDeclHandler(reader->parser, on_entity);
    bool is_read =
        XML_Parse(reader->parser, document.len > 0 ? document.ptr : "", (int)document.len, XML_TRUE) == XML_STATUS_OK;
    if (!is_read) {
        const char *trouble =
            reader->trouble != NULL ? reader->trouble : XML_ErrorString(XML_GetErrorCode(reader->parser));
        (void)error_set(err, ERROR_REJECT, "XML: %s", trouble);
    }
    buffer_done(&reader->path);
    buffer_done(&reader->text);
    return is_read;
}

/* S3 sends whitespace ahead of a late answer, which XML allows only when no declaration follows it. */
static struct slice without_leading_blanks(struct slice document)
{
    static const char blanks[] = {' ', '\t', '\r', '\n'};
    while (document.len > 0 && memchr(blanks, document.ptr[0], sizeof(blanks)) != NULL) {
        document.ptr++;
        document.len--;
    }
    return document;
}

bool xml_read(struct slice document, void (*on_element)(void *context, const struct xml_element *element),
              void *context, struct error *err)
{
    if (document.len > XML_DOCUMENT_MAXIMUM_BYTES) {
        return error_set(err, ERROR_REJECT, "XML is longer than %d bytes", XML_DOCUMENT_MAXIMUM_BYTES);
    }
    struct reader reader = {.on_element = on_element, .context = context};
    return reader_run(&reader, without_leading_blanks(document), err);
}

static void root_element(void *context, const struct xml_element *element)
{
    struct buffer *name = context;
    /* Children come before their parents: the last call is the root's. */
    buffer_clear(name);
    buffer_append(name, slice_from(element->path, strcspn(element->path, "/")));
}

bool xml_root(struct slice document, struct buffer *ret_name)
{
    struct error err;
    (void)!xml_read(document, root_element, ret_name, &err);
    return ret_name->len > 0;
}

/* Behind what may stand before the root: a declaration, comments. */
static struct slice without_prolog(struct slice document)
{
    static const struct {
        const char *start;
        const char *end;
    } parts[] = {{"\xef\xbb\xbf", ""}, {"<?", "?>"}, {"<!--", "-->"}};
    size_t i = 0;
    document = slice_trim(document);
    while (i < sizeof(parts) / sizeof(parts[0])) {
        size_t length = strlen(parts[i].start);
        if (document.len < length || memcmp(document.ptr, parts[i].start, length) != 0) {
            i++;
            continue;
        }
        const char *end = memmem(document.ptr + length, document.len - length, parts[i].end, strlen(parts[i].end));
        size_t skipped = end != NULL ? (size_t)(end - document.ptr) + strlen(parts[i].end) : document.len;
        document = slice_trim(slice_from(document.ptr + skipped, document.len - skipped));
        i = 0;
    }
    return document;
}

bool xml_begins_with(struct slice document, const char *name)
{
    struct slice root = without_prolog(document);
    if (root.len < 2 || root.ptr[0] != '<') {
        return false;
    }
    size_t length = 0;
    while (length + 1 < root.len && strchr(" \t\r\n/>", root.ptr[length + 1]) == NULL) {
        length++;
    }
    struct slice found = slice_from(root.ptr + 1, length);
    const char *colon = memchr(found.ptr, ':', found.len);
    return slice_equal_text(found, name) ||
           (colon != NULL &&
            slice_equal_text(slice_from(colon + 1, found.len - (size_t)(colon + 1 - found.ptr)), name));
}

struct text_search {
    const char *path;
    struct buffer *text;
    bool is_found;
};

static void text_element(void *context, const struct xml_element *element)
{
    struct text_search *search = context;
    if (!search->is_found && strcmp(element->path, search->path) == 0) {
        buffer_append(search->text, element->text);
        search->is_found = true;
    }
}

bool xml_text_at(struct slice document, const char *path, struct buffer *buffer)
{
    struct error err;
    struct text_search search = {.path = path, .text = buffer};
    return xml_read(document, text_element, &search, &err) && search.is_found;
}
