#include "producer/api/api.h"

#include "producer/api/listing.h"
#include "tests/support/http_script.h"
#include "tests/support/moved_clock.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <string.h>

#define SHA "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"

struct ending {
    bool is_done;
    enum api_outcome outcome;
    struct error err;
    bool is_whole;
    size_t rows;
    size_t unchanged;
};

static void on_answer(void *context, const struct api_answer *answer)
{
    *(struct ending *)context = (struct ending){.is_done = true, .outcome = answer->outcome, .err = answer->err};
}

static void on_listing(void *context, const struct listing *listing)
{
    *(struct ending *)context = (struct ending){
        .is_done = true,
        .err = listing->err,
        .is_whole = listing->is_whole,
        .rows = listing->row_count,
        .unchanged = listing->unchanged,
    };
}

static struct ending ask(struct loop *loop, struct api *api, const char *target)
{
    struct ending ending = {0};
    struct api_request request = {.method = "GET", .target = target};
    (void)api_start(api, &request, on_answer, &ending);
    loop_until(loop, &ending.is_done);
    return ending;
}

static struct api *open_api(struct loop *loop, const char *provider, const char *url, const char *token_file)
{
    struct api *api;
    struct error err;
    assert_true(api_open(loop, &(struct api_settings){provider, url, token_file}, &api, &err));
    return api;
}

static void the_token_goes_to_its_own_origin_alone(void **unused)
{
    (void)unused;
    static const struct http_script_answer answers[] = {{.status = 200}};
    struct http_script *script = http_script_start(answers, 1);
    struct scratch token;
    assert_true(scratch_make(&token));
    scratch_write(&token, "s3cret\n");
    struct loop *loop = loop_new(NULL);
    struct api *api = open_api(loop, "github", "https://git.example.com/api/v3", token.path);
    AUTO(text) char *user = text_format("https://git.example.com@%s/x", http_script_url(script) + strlen("http://"));
    const char *const elsewhere[] = {
        http_script_url(script),         user,   "http://git.example.com/x", "https://git.example.com.evil/x",
        "https://git.example.com:444/x", "/x y", "https://git.example.com"};
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        struct ending ending = ask(loop, api, elsewhere[i]);
        assert_int_equal(ending.outcome, API_WRONG);
        assert_null(strstr(ending.err.text, "s3cret"));
    }
    assert_int_equal(http_script_count(script), 0);
    api_close(api);
    loop_free(loop);
    http_script_stop(script);
    (void)scratch_remove(&token);
}

static void each_host_gets_the_token_as_it_wants_it(void **unused)
{
    (void)unused;
    static const struct {
        const char *provider;
        const char *content;
        const char *header;
        const char *value;
    } hosts[] = {
        {"github", "one", "Authorization", "Bearer one"},
        {"gitlab", "two\n", "PRIVATE-TOKEN", "two"},
        {"gitea", "three", "Authorization", "token three"},
        {"bitbucket", "four", "Authorization", "Bearer four"},
        {"bitbucket-server", "u:p", "Authorization", "Basic dTpw"},
    };
    static const struct http_script_answer answers[] = {
        {.status = 200}, {.status = 200}, {.status = 200}, {.status = 200}, {.status = 200}};
    struct http_script *script = http_script_start(answers, 5);
    struct scratch token;
    assert_true(scratch_make(&token));
    struct loop *loop = loop_new(NULL);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct api *api = open_api(loop, hosts[i].provider, http_script_url(script), token.path);
        scratch_write(&token, ""); /* while it is being changed */
        assert_int_equal(ask(loop, api, "/x").outcome, API_REFUSED);
        scratch_write(&token, hosts[i].content);
        assert_int_equal(ask(loop, api, "/x").outcome, API_OK);
        AUTO(text) char *value = http_script_header(script, i, hosts[i].header);
        AUTO(text) char *agent = http_script_header(script, i, "User-Agent");
        assert_string_equal(value, hosts[i].value);
        assert_non_null(agent);
        api_close(api);
    }
    loop_free(loop);
    http_script_stop(script);
    (void)scratch_remove(&token);
}

static void nothing_is_sent_before_the_limit_is_over(void **unused)
{
    (void)unused;
    static const struct http_script_answer answers[] = {{.status = 429, .headers = "Retry-After: 600\r\n"},
                                                        {.status = 200}};
    struct http_script *script = http_script_start(answers, 2);
    struct loop *loop = loop_new(NULL);
    struct api *api = open_api(loop, "gitea", http_script_url(script), NULL);
    moved_clock_stand();
    assert_int_equal(ask(loop, api, "/x").outcome, API_LIMITED);
    moved_clock_by(599 * 1000);
    assert_int_equal(ask(loop, api, "/x").outcome, API_LIMITED);
    assert_int_equal(http_script_count(script), 1);
    moved_clock_by(2 * 1000);
    moved_clock_reset();
    api_close(api);
    loop_free(loop);
    http_script_stop(script);
}

static void a_listing_is_whole_or_an_error(void **unused)
{
    (void)unused;
    static const char row[] = "[{\"name\":\"x\",\"commit\":{\"sha\":\"" SHA "\"}}]";
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = row, .headers = "ETag: \"1\"\r\n"},
        {.status = 200, .body = row, .headers = "ETag: \"2\"\r\nLink: </repos/a/b/tags?page=2>; rel=\"next\"\r\n"},
        {.status = 200, .body = "[]", .headers = "ETag: \"3\"\r\n"},
        {.status = 304},
        {.status = 304},
        {.status = 304},
        {.status = 304},
        {.status = 502},
        {.status = 200, .body = row, .headers = "Link: </repos/a/b/branches?per_page=100>; rel=\"next\"\r\n"},
    };
    static const struct {
        bool is_whole;
        size_t unchanged;
    } expected[] = {{true, 0}, {true, 3}, {false, 1}, {false, 0}};
    struct http_script *script = http_script_start(answers, sizeof(answers) / sizeof(answers[0]));
    struct loop *loop = loop_new(NULL);
    struct api *api = open_api(loop, "github", http_script_url(script), NULL);
    struct listing_cache *cache = listing_cache_new();
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct ending ending = {0};
        (void)listing_start(loop, api, cache, "a/b", i == 3, on_listing, &ending);
        loop_until(loop, &ending.is_done);
        assert_int_equal(ending.is_whole, expected[i].is_whole);
        assert_int_equal(ending.unchanged, expected[i].unchanged);
        assert_true(!ending.is_whole || ending.rows == 2);
    }
    AUTO(text) char *etag = http_script_header(script, 4, "If-None-Match");
    AUTO(text) char *none = http_script_header(script, 8, "If-None-Match");
    assert_string_equal(etag, "\"2\"");
    assert_null(none);
    listing_cache_free(cache);
    api_close(api);
    loop_free(loop);
    http_script_stop(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_token_goes_to_its_own_origin_alone),
        cmocka_unit_test(each_host_gets_the_token_as_it_wants_it),
        cmocka_unit_test(nothing_is_sent_before_the_limit_is_over),
        cmocka_unit_test(a_listing_is_whole_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
