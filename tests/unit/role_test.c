#include "workers/common/aws/role.h"

#include "tests/support/scratch.h"
#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKERS = 50 };

#define ROLE "arn:aws:iam::123456789012:role/deployer"
#define ASSUMED(key, expiration)                                                                                       \
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>" key "</AccessKeyId><SecretAccessKey>s"          \
    "</SecretAccessKey><SessionToken>t</SessionToken><Expiration>" expiration "</Expiration></Credentials>"            \
    "</AssumeRoleResult></AssumeRoleResponse>"
#define FUTURE "2999-01-01T00:00:00Z"
#define DENIED "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not you</Message></Error></ErrorResponse>"

static struct scratch scratch;

static int file_make(void **state)
{
    (void)state;
    return scratch_make(&scratch) ? 0 : -1;
}

static int file_remove(void **state)
{
    (void)state;
    return scratch_remove(&scratch);
}

static int surroundings_set(void **state)
{
    (void)state;
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_PROFILE");
    setenv("AWS_SHARED_CREDENTIALS_FILE", scratch.path, 1);
    setenv("AWS_CONFIG_FILE", "/nowhere/config", 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    scratch_write(&scratch, "[default]\naws_access_key_id=AKIDMAIN\naws_secret_access_key=s\n"
                            "[acme]\naws_access_key_id=AKIDACME\naws_secret_access_key=s\n");
    return 0;
}

struct ending {
    unsigned calls;
    bool is_done;
    char access_key[64]; /* "" when there was none */
    struct error err;
    struct failure failure;
    int64_t retry_in_ms;
    struct role_wait **cancels;
};

static void on_answer(void *context, const struct role_answer *answer)
{
    struct ending *ending = context;
    ending->calls++;
    ending->is_done = true;
    ending->err = answer->err;
    ending->failure = answer->failure;
    ending->retry_in_ms = answer->retry_in_ms;
    (void)snprintf(ending->access_key, sizeof(ending->access_key), "%s",
                   answer->credentials != NULL ? answer->credentials->access_key : "");
    assert_int_equal(answer->credentials != NULL, answer->err.action == ERROR_NONE);
    if (ending->cancels != NULL) {
        role_wait_cancel(*ending->cancels);
        *ending->cancels = NULL;
    }
}

struct world {
    struct scripted_aws aws;
    struct roles *roles;
};

static void world_start(struct world *world, const struct http_script_answer *answers, size_t count)
{
    static const struct roles_settings settings = {.session_name = "tests", .entries_maximum = 3};
    scripted_aws_start(&world->aws, answers, count);
    world->roles = roles_new(world->aws.client, &settings);
}

static void world_stop(struct world *world)
{
    roles_free(world->roles);
    scripted_aws_stop(&world->aws);
}

static const struct role_request plain = {.role_arn = ROLE, .region = "us-east-1"};

static struct ending ask(struct world *world, const struct role_request *request)
{
    struct ending ending = {0};
    (void)roles_get(world->roles, request, on_answer, &ending);
    assert_false(ending.is_done);
    loop_until(world->aws.loop, &ending.is_done);
    assert_int_equal(ending.calls, 1);
    return ending;
}

static struct roles_statistics statistics(const struct world *world)
{
    struct roles_statistics statistics;
    roles_statistics_read(world->roles, &statistics);
    return statistics;
}

static void however_many_ask_there_is_one_call_and_then_none(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct world world;
    struct ending endings[ASKERS] = {{0}};
    world_start(&world, answers, 1);
    assert_null(roles_peek(world.roles, &plain));
    for (size_t i = 0; i < ASKERS; i++) {
        (void)roles_get(world.roles, &plain, on_answer, &endings[i]);
    }
    for (size_t i = 0; i < ASKERS; i++) {
        loop_until(world.aws.loop, &endings[i].is_done);
        assert_string_equal(endings[i].access_key, "ASIA1");
    }
    struct ending later = ask(&world, &plain);
    assert_string_equal(later.access_key, "ASIA1");
    assert_int_equal(http_script_count(world.aws.script), 1);
    for (size_t i = 0; i < ASKERS; i++) {
        assert_int_equal(endings[i].calls, 1);
    }
    assert_string_equal(roles_peek(world.roles, &plain)->access_key, "ASIA1");
    assert_int_equal(statistics(&world).calls, 1);
    assert_int_equal(statistics(&world).entries, 1);
    assert_int_equal(statistics(&world).hits, 1);
    assert_non_null(strstr(http_script_body(world.aws.script, 0), "&RoleSessionName=tests&DurationSeconds=3600"));
    AUTO(text) char *authorization = http_script_header(world.aws.script, 0, "Authorization");
    assert_non_null(strstr(authorization, "Credential=AKIDMAIN/"));
    world_stop(&world);
}

static void a_role_that_cannot_be_assumed_is_not_asked_again_at_once(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 403, .body = DENIED},
                                                        {.status = 403, .body = DENIED},
                                                        {.status = 200, .body = ASSUMED("ASIA2", FUTURE)}};
    struct world world;
    world_start(&world, answers, 3);
    struct ending first = ask(&world, &plain);
    assert_string_equal(first.access_key, "");
    assert_int_equal(first.err.action, ERROR_REJECT);
    assert_int_equal(first.failure.kind, FAILURE_ACCESS_DENIED);
    assert_true(first.retry_in_ms > 0 && first.retry_in_ms <= 1000);
    for (int i = 0; i < 10; i++) {
        struct ending again = ask(&world, &plain);
        assert_string_equal(again.err.text, first.err.text);
        assert_int_equal(again.failure.kind, FAILURE_ACCESS_DENIED);
        assert_true(again.retry_in_ms <= first.retry_in_ms);
    }
    assert_int_equal(http_script_count(world.aws.script), 1);
    loop_for(world.aws.loop, first.retry_in_ms + 10);
    struct ending second = ask(&world, &plain);
    assert_int_equal(http_script_count(world.aws.script), 2);
    /* It waits longer after each failure. */
    assert_true(second.retry_in_ms > 1000 && second.retry_in_ms <= 2000);
    loop_for(world.aws.loop, second.retry_in_ms + 10);
    struct ending third = ask(&world, &plain);
    assert_string_equal(third.access_key, "ASIA2");
    assert_int_equal(statistics(&world).failures, 2);
    world_stop(&world);
}

static void each_way_to_ask_for_a_role_is_an_entry_of_its_own(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA2", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA3", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA4", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA5", FUTURE)}};
    static const struct role_request requests[] = {
        {.role_arn = ROLE, .region = "us-east-1"},
        {.role_arn = ROLE, .region = "us-east-1", .external_id = "x"},
        {.role_arn = ROLE, .region = "eu-west-1"},
        {.role_arn = ROLE, .region = "us-east-1", .session_policy = "{}"},
    };
    struct world world;
    world_start(&world, answers, 5);
    for (size_t i = 0; i < 4; i++) {
        struct ending ending = ask(&world, &requests[i]);
        AUTO(text) char *key = text_format("ASIA%zu", i + 1);
        assert_string_equal(ending.access_key, key);
        loop_for(world.aws.loop, 5); /* so that the oldest is known by the clock */
    }
    /* There is room for three: the first has gone. */
    assert_int_equal(statistics(&world).entries, 3);
    assert_null(roles_peek(world.roles, &requests[0]));
    assert_string_equal(roles_peek(world.roles, &requests[1])->access_key, "ASIA2");
    struct ending again = ask(&world, &requests[0]);
    assert_string_equal(again.access_key, "ASIA5");
    world_stop(&world);
}

static void a_key_that_has_expired_is_forgotten_and_asked_for_anew(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA2", FUTURE)}};
    struct world world;
    world_start(&world, answers, 2);
    (void)ask(&world, &plain);
    struct credentials *expired = credentials_copy(roles_peek(world.roles, &plain));
    roles_forget(world.roles, &plain, expired);
    assert_null(roles_peek(world.roles, &plain));
    struct ending renewed = ask(&world, &plain);
    assert_string_equal(renewed.access_key, "ASIA2");
    /* Somebody who learns of it late does not drop the new one. */
    roles_forget(world.roles, &plain, expired);
    assert_string_equal(roles_peek(world.roles, &plain)->access_key, "ASIA2");
    credentials_free(expired);
    world_stop(&world);
}

static void a_key_that_comes_expired_is_an_error_and_not_handed_out(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = ASSUMED("ASIA1", "2020-01-01T00:00:00Z")}};
    struct world world;
    world_start(&world, answers, 1);
    struct ending ending = ask(&world, &plain);
    assert_string_equal(ending.access_key, "");
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(ending.failure.kind, FAILURE_CLOCK_SKEW);
    assert_non_null(strstr(ending.err.text, ROLE ": by this machine's clock the new key has expired already"));
    assert_null(roles_peek(world.roles, &plain));
    (void)ask(&world, &plain);
    assert_int_equal(http_script_count(world.aws.script), 1);
    world_stop(&world);
}

static void an_expired_main_key_is_read_anew_for_the_next_question(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 403, .body = "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>"},
        {.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct world world;
    world_start(&world, answers, 2);
    struct ending first = ask(&world, &plain);
    assert_int_equal(first.failure.kind, FAILURE_EXPIRED_TOKEN);
    assert_int_equal(first.err.action, ERROR_RETRY);
    scratch_write(&scratch, "[default]\naws_access_key_id=AKIDRENEWED\naws_secret_access_key=s\n");
    loop_for(world.aws.loop, first.retry_in_ms + 10);
    struct ending second = ask(&world, &plain);
    assert_string_equal(second.access_key, "ASIA1");
    AUTO(text) char *authorization = http_script_header(world.aws.script, 1, "Authorization");
    assert_non_null(strstr(authorization, "Credential=AKIDRENEWED/"));
    world_stop(&world);
}

static void main_and_profile_keys_need_no_call(void **state)
{
    (void)state;
    static const struct role_request main_request = {0};
    static const struct role_request profile = {.profile = "acme"};
    static const struct role_request absent = {.profile = "absent"};
    struct world world;
    world_start(&world, NULL, 0);
    struct ending ending = ask(&world, &main_request);
    assert_string_equal(ending.access_key, "AKIDMAIN");
    ending = ask(&world, &profile);
    assert_string_equal(ending.access_key, "AKIDACME");
    assert_string_equal(roles_peek(world.roles, &profile)->origin, "profile acme");
    ending = ask(&world, &absent);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(ending.failure.kind, FAILURE_NONE);
    assert_non_null(strstr(ending.err.text, "no profile \"absent\""));
    assert_int_equal(http_script_count(world.aws.script), 0);
    assert_int_equal(statistics(&world).calls, 0);
    world_stop(&world);
}

static void without_main_key_no_role_can_be_assumed(void **state)
{
    (void)state;
    struct world world;
    scratch_write(&scratch, "");
    world_start(&world, NULL, 0);
    struct ending ending = ask(&world, &plain);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_non_null(strstr(ending.err.text, "AssumeRole " ROLE " needs the main account's credentials: "));
    assert_int_equal(http_script_count(world.aws.script), 0);
    world_stop(&world);
}

static void one_who_gives_up_does_not_disturb_the_others(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct world world;
    struct ending endings[3] = {{0}};
    struct role_wait *waits[3];
    world_start(&world, answers, 1);
    for (size_t i = 0; i < 3; i++) {
        waits[i] = roles_get(world.roles, &plain, on_answer, &endings[i]);
    }
    role_wait_cancel(waits[1]);
    role_wait_cancel(NULL);
    loop_until(world.aws.loop, &endings[0].is_done);
    loop_until(world.aws.loop, &endings[2].is_done);
    assert_false(endings[1].is_done);
    assert_int_equal(http_script_count(world.aws.script), 1);
    world_stop(&world);
}

static void one_who_is_cancelled_by_anothers_answer_is_not_called(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct world world;
    struct ending endings[2] = {{0}};
    struct role_wait *waits[2];
    world_start(&world, answers, 1);
    waits[0] = roles_get(world.roles, &plain, on_answer, &endings[0]);
    waits[1] = roles_get(world.roles, &plain, on_answer, &endings[1]);
    /* Whichever comes first cancels the other. */
    endings[0].cancels = &waits[1];
    endings[1].cancels = &waits[0];
    loop_until_requests(world.aws.loop, world.aws.script, 1);
    loop_for(world.aws.loop, 100);
    assert_int_equal(endings[0].calls + endings[1].calls, 1);
    world_stop(&world);
}

struct greedy {
    struct world *world;
    struct ending inner[8];
    bool is_done;
};

static void on_answer_ask_more(void *context, const struct role_answer *answer)
{
    struct greedy *greedy = context;
    static char ids[8][2];
    (void)answer;
    for (size_t i = 0; i < 8; i++) {
        ids[i][0] = (char)('0' + i);
        struct role_request request = {.profile = "acme", .external_id = ids[i]};
        (void)roles_get(greedy->world->roles, &request, on_answer, &greedy->inner[i]);
    }
    greedy->is_done = true;
}

static void more_may_be_asked_from_an_answer_than_there_is_room_for(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct world world;
    struct greedy greedy = {.world = &world};
    struct ending other = {0};
    world_start(&world, answers, 1);
    (void)roles_get(world.roles, &plain, on_answer_ask_more, &greedy);
    (void)roles_get(world.roles, &plain, on_answer, &other);
    loop_until(world.aws.loop, &greedy.is_done);
    loop_until(world.aws.loop, &other.is_done);
    for (size_t i = 0; i < 8; i++) {
        loop_until(world.aws.loop, &greedy.inner[i].is_done);
        assert_string_equal(greedy.inner[i].access_key, "AKIDACME");
    }
    world_stop(&world);
}

static void roles_that_go_call_nobody(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct world world;
    struct ending endings[2] = {{0}};
    world_start(&world, answers, 1);
    (void)roles_get(world.roles, &plain, on_answer, &endings[0]);
    loop_until_requests(world.aws.loop, world.aws.script, 1);
    (void)roles_get(world.roles, &(struct role_request){.profile = "acme"}, on_answer, &endings[1]);
    roles_free(world.roles);
    roles_free(NULL);
    world.roles = NULL;
    loop_for(world.aws.loop, 20);
    assert_false(endings[0].is_done || endings[1].is_done);
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(however_many_ask_there_is_one_call_and_then_none, surroundings_set),
        cmocka_unit_test_setup(a_role_that_cannot_be_assumed_is_not_asked_again_at_once, surroundings_set),
        cmocka_unit_test_setup(each_way_to_ask_for_a_role_is_an_entry_of_its_own, surroundings_set),
        cmocka_unit_test_setup(a_key_that_has_expired_is_forgotten_and_asked_for_anew, surroundings_set),
        cmocka_unit_test_setup(a_key_that_comes_expired_is_an_error_and_not_handed_out, surroundings_set),
        cmocka_unit_test_setup(an_expired_main_key_is_read_anew_for_the_next_question, surroundings_set),
        cmocka_unit_test_setup(main_and_profile_keys_need_no_call, surroundings_set),
        cmocka_unit_test_setup(without_main_key_no_role_can_be_assumed, surroundings_set),
        cmocka_unit_test_setup(one_who_gives_up_does_not_disturb_the_others, surroundings_set),
        cmocka_unit_test_setup(one_who_is_cancelled_by_anothers_answer_is_not_called, surroundings_set),
        cmocka_unit_test_setup(more_may_be_asked_from_an_answer_than_there_is_room_for, surroundings_set),
        cmocka_unit_test_setup(roles_that_go_call_nobody, surroundings_set),
    };
    return cmocka_run_group_tests_name("role", tests, file_make, file_remove);
}
