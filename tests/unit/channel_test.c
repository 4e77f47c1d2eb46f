#include "producer/status/channel.h"

#include "producer/hook.h"
#include "tests/support/http_script.h"
#include "tests/support/moved_clock.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <string.h>

#define SHA "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"

static const struct option table[] = {
    {.name = "producer.hooks", .type = OPTION_GROUPS, .group = hook_options, .help = "x"},
    {0},
};
static const struct option *const tables[] = {table, NULL};

struct setting {
    struct http_script *script;
    struct scratch token;
    struct scratch config;
    struct options *options;
    struct loop *loop;
    struct channels *channels;
};

static void open_all(struct setting *setting, const struct http_script_answer *answers, size_t count)
{
    struct error err;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 4096);
    setting->script = http_script_start(answers, count);
    assert_true(scratch_make(&setting->token) && scratch_make(&setting->config));
    scratch_write(&setting->token, "s3cret\n");
    AUTO(text)
    char *config = text_format(
        "producer: { hooks = ( { name = \"none\"; provider = \"gogs\"; },\n"
        "{ name = \"one\"; provider = \"gitlab\"; status = true; api_url = \"%s\"; token_file = \"%s\"; repositories = "
        "( \"acme/*\", \"group/?/app\" ); },\n"
        "{ name = \"same\"; provider = \"gitlab\"; status = true; api_url = \"%s/\"; token_file = \"%s\"; repositories "
        "= "
        "( \"same/*\" ); },\n"
        "{ name = \"rest\"; provider = \"github\"; status = true; token_file = \"%s\"; } ); };",
        http_script_url(setting->script), setting->token.path, http_script_url(setting->script), setting->token.path,
        setting->token.path);
    scratch_write(&setting->config, config);
    assert_true(options_load(tables, setting->config.path, NULL, 0, &setting->options, &mistakes));
    setting->loop = loop_new(NULL);
    assert_true(channels_open(setting->loop, setting->options, &setting->channels, &err));
}

static void close_all(struct setting *setting)
{
    channels_close(setting->channels);
    loop_free(setting->loop);
    options_free(setting->options);
    http_script_stop(setting->script);
    (void)scratch_remove(&setting->token);
    (void)scratch_remove(&setting->config);
    moved_clock_reset();
}

struct ending {
    bool is_done;
    enum api_outcome outcome;
};

static void on_answer(void *context, const struct api_answer *answer)
{
    *(struct ending *)context = (struct ending){true, answer->outcome};
}

static struct channel_call *post(const struct channel *channel, struct ending *ending)
{
    struct status status = {"acme/app", SHA, "tagfleet/qa", COMMIT_PENDING, "0 of 1 account"};
    *ending = (struct ending){0};
    return channel_post(channel, &status, on_answer, ending);
}

static enum api_outcome post_and_wait(struct setting *setting, const struct channel *channel)
{
    struct ending ending;
    (void)post(channel, &ending);
    loop_until(setting->loop, &ending.is_done);
    return ending.outcome;
}

static void the_first_hook_that_matches_is_told(void **unused)
{
    struct setting setting;
    open_all(&setting, NULL, 0);
    static const char *const found[][2] = {
        {"acme/app", "one"},
        {"group/a/app", "one"},
        {"same/app", "same"},
        {"other/app", "rest"},
        {"group/ab/app", NULL} /* no name for GitHub */,
    };
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
        const struct channel *channel = channels_find(setting.channels, found[i][0]);
        assert_int_equal(channel != NULL, found[i][1] != NULL);
        assert_true(channel == NULL || strcmp(channel_hook(channel), found[i][1]) == 0);
    }
    close_all(&setting);
}

static void a_host_that_is_down_is_left_alone_and_then_tried_once(void **unused)
{
    static const struct http_script_answer answers[] = {
        {.status = 502}, {.status = 503}, {.status = 201}, {.status = 201}};
    struct setting setting;
    open_all(&setting, answers, 4);
    const struct channel *channel = channels_find(setting.channels, "acme/app");
    const struct channel *same = channels_find(setting.channels, "same/app");
    moved_clock_stand();
    assert_int_equal(channel_turn_ms(channel), 0);
    assert_int_equal(post_and_wait(&setting, channel), API_LATER);
    int64_t first_ms = channel_turn_ms(channel);
    assert_true(first_ms > 0);
    assert_int_equal(channel_turn_ms(same), first_ms + CHANNEL_TURN_MS); /* the same host, one after the other */
    assert_int_equal(channel_turn_ms(channels_find(setting.channels, "other/app")), 0);
    moved_clock_by(first_ms);
    assert_int_equal(channel_turn_ms(channel), 0);
    assert_int_equal(post_and_wait(&setting, channel), API_LATER);
    assert_true(channel_turn_ms(channel) > first_ms);
    moved_clock_by(CHANNEL_PAUSE_MAXIMUM_MS);
    struct ending ending;
    (void)post(channel, &ending);
    assert_true(channel_turn_ms(same) > 0); /* one at a time until it answers */
    loop_until(setting.loop, &ending.is_done);
    assert_int_equal(ending.outcome, API_OK);
    (void)post(channel, &ending);
    assert_int_equal(channel_turn_ms(same), 0);
    loop_until(setting.loop, &ending.is_done);
    close_all(&setting);
}

static void a_host_gets_only_so_many_at_once(void **unused)
{
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct setting setting;
    open_all(&setting, answers, 1);
    const struct channel *channel = channels_find(setting.channels, "acme/app");
    struct ending endings[CHANNEL_IN_FLIGHT_MAXIMUM];
    struct channel_call *calls[CHANNEL_IN_FLIGHT_MAXIMUM];
    for (size_t i = 0; i < CHANNEL_IN_FLIGHT_MAXIMUM; i++) {
        assert_int_equal(channel_turn_ms(channel), 0);
        calls[i] = post(channel, &endings[i]);
    }
    assert_true(channel_turn_ms(channel) > 0);
    channel_cancel(calls[0]);
    assert_int_equal(channel_turn_ms(channel), 0);
    for (size_t i = 1; i < CHANNEL_IN_FLIGHT_MAXIMUM; i++) {
        channel_cancel(calls[i]);
    }
    close_all(&setting);
}

static void what_the_host_has_already_counts_as_posted(void **unused)
{
    static const struct http_script_answer answers[] = {
        {.status = 400, .body = "{\"message\":\"Cannot transition status via :enqueue from :pending\"}"},
        {.status = 400, .body = "{\"message\":\"no\"}"},
        {.status = 404},
        {.status = 403},
        {.status = 429, .headers = "Retry-After: 60\r\n"},
    };
    static const enum api_outcome outcomes[] = {API_OK, API_WRONG, API_MISSING, API_REFUSED, API_LIMITED};
    struct setting setting;
    open_all(&setting, answers, 5);
    const struct channel *channel = channels_find(setting.channels, "acme/app");
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        assert_int_equal(post_and_wait(&setting, channel), outcomes[i]);
        AUTO(text) char *token = http_script_header(setting.script, i, "PRIVATE-TOKEN");
        assert_string_equal(token, "s3cret");
    }
    assert_true(channel_turn_ms(channel) > 50000);
    close_all(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_hook_that_matches_is_told),
        cmocka_unit_test(a_host_that_is_down_is_left_alone_and_then_tried_once),
        cmocka_unit_test(a_host_gets_only_so_many_at_once),
        cmocka_unit_test(what_the_host_has_already_counts_as_posted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
