#include "tests/support/scripted_aws.h"

#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

static void client_start(struct scripted_aws *aws)
{
    aws->loop = loop_new(NULL);
    struct aws_client_settings settings = {
        .endpoints = {.s3_url = http_script_url(aws->script), .sts_url = http_script_url(aws->script)},
        .retry = {.attempts_maximum = SCRIPTED_ATTEMPTS, .base_ms = 1, .throttled_base_ms = 1, .maximum_ms = 1},
    };
    aws->client = aws_client_new(aws->loop, &settings);
    aws->key = credentials_new("AKIDSCRIPT", "secret", "token", 0, "script");
}

void scripted_aws_start(struct scripted_aws *aws, const struct http_script_answer *answers, size_t count)
{
    aws->script = http_script_start(answers, count);
    client_start(aws);
}

void scripted_aws_start_choosing(struct scripted_aws *aws, http_script_choose *choose, void *context)
{
    aws->script = http_script_start_choosing(choose, context);
    client_start(aws);
}

void scripted_aws_stop(struct scripted_aws *aws)
{
    aws_client_free(aws->client);
    loop_free(aws->loop);
    http_script_stop(aws->script);
    credentials_free(aws->key);
}

int64_t scripted_deadline_ms(void)
{
    return clock_monotonic_ms() + 120000;
}

void scripted_expect_header(struct scripted_aws *aws, size_t position, const char *name, const char *expected)
{
    AUTO(text) char *value = http_script_header(aws->script, position, name);
    if (expected == NULL) {
        assert_null(value);
        return;
    }
    if (value == NULL) {
        fail_msg("request %zu has no %s", position, name);
        return;
    }
    assert_string_equal(value, expected);
}
