#include "workers/common/aws/xml.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static void element_append(void *context, const struct xml_element *element)
{
    buffer_append_format(context, "%s=[%.*s]", element->path, (int)element->text.len, element->text.ptr);
    assert_int_equal(element->text.ptr[element->text.len], '\0');
}

static bool read_into(const char *document, struct buffer *seen, struct error *err)
{
    buffer_init(seen, 1 << 20);
    return xml_read(slice_of(document), element_append, seen, err);
}

static void expect(const char *document, const char *elements)
{
    AUTO(buffer) struct buffer seen;
    struct error err = {0};
    if (!read_into(document, &seen, &err)) {
        fail_msg("%s: %s", document, err.text);
    }
    assert_string_equal(seen.ptr, elements);
}

static void elements_are_told_at_their_end_children_first(void **state)
{
    (void)state;
    expect("<a><b>1</b><c><d>2</d></c></a>", "a/b=[1]a/c/d=[2]a/c=[]a=[]");
    expect("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a/>", "a=[]");
    expect("<a><b>x</b><b>y</b></a>", "a/b=[x]a/b=[y]a=[]");
}

static void the_text_around_children_is_the_parents_own(void **state)
{
    (void)state;
    expect("<a>one<b>two</b>three</a>", "a/b=[two]a=[onethree]");
    expect("<a> <b/> </a>", "a/b=[]a=[  ]");
}

static void references_and_character_data_are_resolved(void **state)
{
    (void)state;
    expect("<a>&lt;&amp;&quot;&#233;&#x1F600;<![CDATA[<b>&amp;]]></a>", "a=[<&\"\xc3\xa9\xf0\x9f\x98\x80<b>&amp;]");
}

static void prefixes_and_attributes_are_dropped(void **state)
{
    (void)state;
    expect("<s3:a xmlns:s3=\"http://s3.amazonaws.com/doc/2006-03-01/\" x=\"y\"><s3:b>1</s3:b></s3:a>", "a/b=[1]a=[]");
    expect("<a:><b:>1</b:></a:>", "a:/b:=[1]a:=[]"); /* no name behind the prefix: it is the name */
    expect("<a xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>", "a=[]");
}

static void blanks_before_the_declaration_of_a_late_answer_are_allowed(void **state)
{
    (void)state;
    expect(" \n \n<?xml version=\"1.0\"?><a>1</a>", "a=[1]");
}

static void what_is_no_xml_is_refused_and_what_was_told_before_stands(void **state)
{
    (void)state;
    static const struct {
        const char *document;
        const char *elements;
    } cases[] = {
        {"", ""},
        {"   ", ""},
        {"text", ""},
        {"<a>", ""},
        {"<a><b>1</b>", "a/b=[1]"},
        {"<a></b>", ""},
        {"<a/><b/>", "a=[]"},
        {"<a>&nothing;</a>", ""},
        {"<a>\x01</a>", ""},
        {"<a>\xff</a>", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buffer) struct buffer seen;
        struct error err = {0};
        if (read_into(cases[i].document, &seen, &err)) {
            fail_msg("%s was read", cases[i].document);
        }
        assert_int_equal(err.action, ERROR_REJECT);
        assert_memory_equal(err.text, "XML: ", 5);
        assert_string_equal(seen.ptr, cases[i].elements);
    }
}

static void document_types_and_entities_are_refused(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x \"yyyyyyyyyy\"><!ENTITY z \"&x;&x;&x;&x;\">]><a>&z;&z;</a>",
    };
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        AUTO(buffer) struct buffer seen;
        struct error err = {0};
        assert_false(read_into(documents[i], &seen, &err));
        assert_non_null(strstr(err.text, "document type"));
        assert_string_equal(seen.ptr, "");
    }
}

static char *nested(size_t depth)
{
    AUTO(buffer) struct buffer document;
    buffer_init(&document, 1 << 20);
    for (size_t i = 0; i < depth; i++) {
        buffer_append_text(&document, "<e>");
    }
    for (size_t i = 0; i < depth; i++) {
        buffer_append_text(&document, "</e>");
    }
    return slice_copy(buffer_slice(&document));
}

static void elements_nest_to_a_bound_and_no_deeper(void **state)
{
    (void)state;
    AUTO(text) char *fitting = nested(XML_DEPTH_MAXIMUM);
    AUTO(text) char *deep = nested(XML_DEPTH_MAXIMUM + 1);
    AUTO(buffer) struct buffer seen;
    AUTO(buffer) struct buffer nothing;
    struct error err;
    assert_true(read_into(fitting, &seen, &err));
    assert_false(read_into(deep, &nothing, &err));
    assert_non_null(strstr(err.text, "nested too deeply"));
}

static void texts_and_names_are_as_long_as_their_bound_and_no_longer(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        size_t length = XML_TEXT_MAXIMUM_BYTES + (size_t)extra;
        AUTO(text) char *text = memory_zeroed(length + 1, 1);
        memset(text, 'x', length);
        AUTO(text) char *document = text_format("<a>%s</a>", text);
        AUTO(buffer) struct buffer seen;
        struct error err = {0};
        assert_int_equal(read_into(document, &seen, &err), extra == 0);
    }
    AUTO(text) char *name = memory_zeroed(1001, 1);
    memset(name, 'n', 1000);
    AUTO(text) char *document = text_format("<%s/>", name);
    AUTO(buffer) struct buffer seen;
    struct error err;
    assert_false(read_into(document, &seen, &err));
    assert_non_null(strstr(err.text, "names are too long"));
}

static void a_document_beyond_the_maximum_is_not_looked_at(void **state)
{
    (void)state;
    size_t length = XML_DOCUMENT_MAXIMUM_BYTES + 1;
    AUTO(text) char *document = memory_zeroed(length, 1);
    AUTO(buffer) struct buffer seen;
    struct error err;
    buffer_init(&seen, 100);
    assert_false(xml_read(slice_from(document, length), element_append, &seen, &err));
    assert_non_null(strstr(err.text, "is longer than"));
}

static void the_root_is_known_even_when_the_document_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *document;
        const char *root; /* NULL: none */
    } cases[] = {
        {"<Error><Code>x</Code></Error>", "Error"},
        {"<Error><Code>x</Code>", "Error"},
        {"<Error><Code>x", NULL},
        {"<s3:Error/>", "Error"},
        {"", NULL},
        {"{}", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buffer) struct buffer name;
        buffer_init(&name, 100);
        assert_int_equal(xml_root(slice_of(cases[i].document), &name), cases[i].root != NULL);
        assert_string_equal(name.ptr, cases[i].root != NULL ? cases[i].root : "");
    }
}

static void the_first_element_at_a_path_is_found(void **state)
{
    (void)state;
    static const char document[] = "<a><b>1</b><c><b>2</b></c><b>3</b><d/></a>";
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 100);
    assert_true(xml_text_at(slice_of(document), "a/b", &text));
    assert_string_equal(text.ptr, "1");
    buffer_clear(&text);
    assert_true(xml_text_at(slice_of(document), "a/c/b", &text));
    assert_string_equal(text.ptr, "2");
    buffer_clear(&text);
    assert_true(xml_text_at(slice_of(document), "a/d", &text));
    assert_string_equal(text.ptr, "");
    assert_false(xml_text_at(slice_of(document), "a/e", &text));
    assert_false(xml_text_at(slice_of(document), "b", &text));
    assert_false(xml_text_at(slice_of("<a><b>1</b>"), "a/b", &text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_told_at_their_end_children_first),
        cmocka_unit_test(the_text_around_children_is_the_parents_own),
        cmocka_unit_test(references_and_character_data_are_resolved),
        cmocka_unit_test(prefixes_and_attributes_are_dropped),
        cmocka_unit_test(blanks_before_the_declaration_of_a_late_answer_are_allowed),
        cmocka_unit_test(what_is_no_xml_is_refused_and_what_was_told_before_stands),
        cmocka_unit_test(document_types_and_entities_are_refused),
        cmocka_unit_test(elements_nest_to_a_bound_and_no_deeper),
        cmocka_unit_test(texts_and_names_are_as_long_as_their_bound_and_no_longer),
        cmocka_unit_test(a_document_beyond_the_maximum_is_not_looked_at),
        cmocka_unit_test(the_root_is_known_even_when_the_document_is_cut),
        cmocka_unit_test(the_first_element_at_a_path_is_found),
    };
    return cmocka_run_group_tests_name("xml", tests, NULL, NULL);
}
