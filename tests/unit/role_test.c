#include "workers/common/aws/role.h"

#include "tests/support/moved_clock.h"
#include "tests/support/scratch.h"
#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKERS = 50, TURNS_MAXIMUM = 4000 };

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
    unsetenv("AWS_REGION");
    unsetenv("AWS_DEFAULT_REGION");
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
    moved_clock_by(first.retry_in_ms - 1);
    (void)ask(&world, &plain);
    assert_int_equal(http_script_count(world.aws.script), 1);
    moved_clock_by(1);
    struct ending second = ask(&world, &plain);
    assert_int_equal(http_script_count(world.aws.script), 2);
    /* It waits longer after each failure. */
    assert_true(second.retry_in_ms > 1000 && second.retry_in_ms <= 2000);
    moved_clock_by(second.retry_in_ms);
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
    for (int turns = 0; turns < TURNS_MAXIMUM && !endings[0].is_done && !endings[1].is_done; turns++) {
        loop_turn(world.aws.loop, 5);
    }
    loop_for(world.aws.loop, 20);
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

/* ---- in virtual time ---- */

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS, HOUR_MS = 60 * MINUTE_MS };

/* An answer with a key that ends in so long; the caller frees the text. */
static char *assumed_for(const char *key, int64_t left_ms)
{
    char expiration[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_ms() + left_ms, expiration);
    return text_format("<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>"
                       "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>"
                       "</Credentials></AssumeRoleResult></AssumeRoleResponse>",
                       key, expiration);
}

/* As a container or an instance hands it out. */
static char *given_for(const char *key, int64_t left_ms)
{
    char expiration[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_ms() + left_ms, expiration);
    return text_format("{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"%s\"}", key,
                       expiration);
}

static int clock_stand(void **state)
{
    moved_clock_stand();
    return surroundings_set(state);
}

static int clock_reset(void **state)
{
    (void)state;
    moved_clock_reset();
    unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    return 0;
}

static void expect_key(struct world *world, const struct role_request *request, const char *access_key)
{
    struct ending ending = ask(world, request);
    if (strcmp(ending.access_key, access_key) != 0) {
        fail_msg("%s in place of %s: %s", ending.access_key, access_key, ending.err.text);
    }
}

static void turn_until_failures(struct world *world, uint64_t count)
{
    for (int i = 0; i < TURNS_MAXIMUM && statistics(world).failures < count; i++) {
        loop_turn(world->aws.loop, 5);
    }
    assert_int_equal(statistics(world).failures, count);
}

static void turn_until_fresh(struct world *world, const struct role_request *request)
{
    for (int i = 0; i < TURNS_MAXIMUM && roles_peek(world->roles, request) == NULL; i++) {
        loop_turn(world->aws.loop, 5);
    }
    assert_non_null(roles_peek(world->roles, request));
}

static void a_key_is_renewed_before_it_ends_and_used_meanwhile(void **state)
{
    (void)state;
    AUTO(text) char *first = assumed_for("ASIA1", HOUR_MS);
    AUTO(text) char *second = assumed_for("ASIA2", 2 * HOUR_MS);
    const struct http_script_answer answers[] = {{.status = 200, .body = first}, {.status = 200, .body = second}};
    struct world world;
    world_start(&world, answers, 2);
    expect_key(&world, &plain, "ASIA1");
    moved_clock_by(HOUR_MS - 8 * MINUTE_MS);
    assert_non_null(roles_peek(world.roles, &plain));
    expect_key(&world, &plain, "ASIA1");
    assert_int_equal(http_script_count(world.aws.script), 1);
    moved_clock_by(3 * MINUTE_MS); /* 5 to 7 minutes before its end */
    assert_null(roles_peek(world.roles, &plain));
    struct ending endings[5] = {{0}};
    for (int i = 0; i < 5; i++) {
        (void)roles_get(world.roles, &plain, on_answer, &endings[i]);
    }
    loop_turn(world.aws.loop, 0);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(endings[i].access_key, "ASIA1"); /* nobody waits */
    }
    turn_until_fresh(&world, &plain);
    expect_key(&world, &plain, "ASIA2");
    assert_int_equal(http_script_count(world.aws.script), 2);
    world_stop(&world);
}

static void keys_that_came_together_are_not_renewed_together(void **state)
{
    (void)state;
    enum { ROLES = 40 };
    static const struct roles_settings settings = {.session_name = "tests"};
    AUTO(text) char *body = assumed_for("ASIA1", HOUR_MS);
    struct http_script_answer answers[ROLES];
    char ids[ROLES][8];
    struct role_request requests[ROLES];
    struct scripted_aws aws;
    for (size_t i = 0; i < ROLES; i++) {
        answers[i] = (struct http_script_answer){.status = 200, .body = body};
        (void)snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        requests[i] = plain;
        requests[i].external_id = ids[i];
    }
    scripted_aws_start(&aws, answers, ROLES);
    struct world world = {.aws = aws, .roles = roles_new(aws.client, &settings)};
    for (size_t i = 0; i < ROLES; i++) {
        moved_clock_by(10); /* the rate of calls to STS */
        expect_key(&world, &requests[i], "ASIA1");
    }
    moved_clock_by(HOUR_MS - 6 * MINUTE_MS);
    size_t fresh = 0;
    for (size_t i = 0; i < ROLES; i++) {
        fresh += roles_peek(world.roles, &requests[i]) != NULL;
    }
    assert_true(fresh > 0 && fresh < ROLES);
    world_stop(&world);
}

static void a_failed_renewal_leaves_the_good_key_and_is_not_repeated_at_once(void **state)
{
    (void)state;
    AUTO(text) char *first = assumed_for("ASIA1", HOUR_MS);
    AUTO(text) char *last = assumed_for("ASIA2", 2 * HOUR_MS);
    const struct http_script_answer answers[] = {{.status = 200, .body = first},
                                                 {.status = 403, .body = DENIED},
                                                 {.status = 403, .body = DENIED},
                                                 {.status = 200, .body = last}};
    static const int64_t pauses_ms[] = {SECOND_MS, 2 * SECOND_MS};
    struct world world;
    world_start(&world, answers, 4);
    expect_key(&world, &plain, "ASIA1");
    moved_clock_by(HOUR_MS - 5 * MINUTE_MS);
    expect_key(&world, &plain, "ASIA1");
    for (size_t i = 0; i < 2; i++) {
        turn_until_failures(&world, 1 + i);
        moved_clock_by(pauses_ms[i] - 1);
        expect_key(&world, &plain, "ASIA1");
        loop_for(world.aws.loop, 20);
        assert_int_equal(http_script_count(world.aws.script), 2 + i);
        moved_clock_by(1);
        expect_key(&world, &plain, "ASIA1");
    }
    turn_until_fresh(&world, &plain);
    expect_key(&world, &plain, "ASIA2");
    assert_int_equal(http_script_count(world.aws.script), 4);
    assert_int_equal(statistics(&world).failures, 2);
    world_stop(&world);
}

static void a_key_that_could_not_be_renewed_is_not_used_beyond_its_end(void **state)
{
    (void)state;
    AUTO(text) char *first = assumed_for("ASIA1", HOUR_MS);
    const struct http_script_answer answers[] = {{.status = 200, .body = first}, {.status = 403, .body = DENIED}};
    struct world world;
    world_start(&world, answers, 2);
    expect_key(&world, &plain, "ASIA1");
    moved_clock_by(HOUR_MS);
    assert_null(roles_peek(world.roles, &plain));
    struct ending ending = ask(&world, &plain);
    assert_string_equal(ending.access_key, "");
    assert_int_equal(ending.failure.kind, FAILURE_ACCESS_DENIED);
    world_stop(&world);
}

/* The main credentials from a container: asked for once, however many roles need them. */
static void main_credentials_are_asked_for_once_and_renewed_like_a_role(void **state)
{
    (void)state;
    AUTO(text) char *given = given_for("ASIAMAIN1", HOUR_MS);
    AUTO(text) char *renewed = given_for("ASIAMAIN2", 2 * HOUR_MS);
    AUTO(text) char *assumed = assumed_for("ASIA1", HOUR_MS - 10 * MINUTE_MS);
    AUTO(text) char *again = assumed_for("ASIA2", 2 * HOUR_MS);
    const struct http_script_answer answers[] = {{.status = 200, .body = given},   {.status = 200, .body = assumed},
                                                 {.status = 200, .body = assumed}, {.status = 403},
                                                 {.status = 200, .body = again},   {.status = 200, .body = renewed}};
    static const struct role_request main_request = {0};
    struct role_request other = plain;
    struct world world;
    struct ending endings[2] = {{0}};
    other.external_id = "other";
    scratch_write(&scratch, "");
    world_start(&world, answers, 6);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", http_script_url(world.aws.script), 1);
    (void)roles_get(world.roles, &plain, on_answer, &endings[0]);
    (void)roles_get(world.roles, &other, on_answer, &endings[1]);
    loop_until(world.aws.loop, &endings[0].is_done);
    loop_until(world.aws.loop, &endings[1].is_done);
    assert_string_equal(endings[0].access_key, "ASIA1");
    assert_string_equal(endings[1].access_key, "ASIA1");
    assert_int_equal(http_script_count(world.aws.script), 3);
    assert_string_equal(http_script_method(world.aws.script, 0), "GET");
    AUTO(text) char *token = http_script_header(world.aws.script, 1, "x-amz-security-token");
    assert_string_equal(token, "t");
    /* The container is in trouble; the main key is good still, and the role is assumed with it. */
    moved_clock_by(HOUR_MS - 5 * MINUTE_MS);
    expect_key(&world, &main_request, "ASIAMAIN1");
    turn_until_failures(&world, 1);
    expect_key(&world, &plain, "ASIA2");
    moved_clock_by(2 * SECOND_MS);
    expect_key(&world, &main_request, "ASIAMAIN1");
    turn_until_fresh(&world, &main_request);
    expect_key(&world, &main_request, "ASIAMAIN2");
    assert_int_equal(http_script_count(world.aws.script), 6);
    world_stop(&world);
}

static void main_credentials_that_cannot_be_had_are_not_asked_for_by_every_role(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 403}};
    struct role_request other = plain;
    struct world world;
    other.external_id = "other";
    scratch_write(&scratch, "");
    world_start(&world, answers, 1);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", http_script_url(world.aws.script), 1);
    struct ending first = ask(&world, &plain);
    struct ending second = ask(&world, &other);
    AUTO(text)
    char *expected =
        text_format("AssumeRole " ROLE " needs the main account's credentials: the container's credentials: HTTP 403");
    assert_string_equal(first.err.text, expected);
    assert_string_equal(second.err.text, expected);
    assert_int_equal(http_script_count(world.aws.script), 1);
    world_stop(&world);
}

static void a_profile_may_be_a_chain_of_roles(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)},
                                                        {.status = 200, .body = ASSUMED("ASIA2", FUTURE)}};
    static const struct role_request tenant = {.profile = "tenant"};
    struct world world;
    scratch_write(&scratch, "[acme]\naws_access_key_id=AKIDACME\naws_secret_access_key=s\n"
                            "[tenant]\nrole_arn=arn:aws:iam::1:role/b\nsource_profile=hop\nexternal_id=x\n"
                            "[hop]\nrole_arn=arn:aws:iam::1:role/a\nsource_profile=acme\nrole_session_name=hopper\n");
    world_start(&world, answers, 2);
    expect_key(&world, &tenant, "ASIA2");
    AUTO(text) char *first = http_script_header(world.aws.script, 0, "Authorization");
    AUTO(text) char *second = http_script_header(world.aws.script, 1, "Authorization");
    assert_non_null(strstr(first, "Credential=AKIDACME/"));
    assert_non_null(strstr(first, "/us-east-1/sts/"));
    assert_non_null(strstr(second, "Credential=ASIA1/"));
    assert_non_null(strstr(http_script_body(world.aws.script, 0), "role%2Fa&RoleSessionName=hopper&"));
    assert_non_null(strstr(http_script_body(world.aws.script, 1), "role%2Fb&RoleSessionName=tests&"));
    assert_non_null(strstr(http_script_body(world.aws.script, 1), "&ExternalId=x"));
    world_stop(&world);
}

static void a_web_identity_whose_token_is_missing_is_named_and_asks_nobody(void **state)
{
    (void)state;
    static const struct role_request pod = {.profile = "pod"};
    struct world world;
    scratch_write(&scratch, "[pod]\nrole_arn=" ROLE "\nweb_identity_token_file=/nowhere/token\n");
    world_start(&world, NULL, 0);
    struct ending ending = ask(&world, &pod);
    assert_string_equal(ending.err.text, "AssumeRoleWithWebIdentity " ROLE
                                         ": /nowhere/token: cannot be read: No such file or directory");
    assert_int_equal(http_script_count(world.aws.script), 0);
    world_stop(&world);
}

struct crowd {
    size_t answered;
    size_t good;
    bool is_done;
};

static void on_crowd_answer(void *context, const struct role_answer *answer)
{
    struct crowd *crowd = context;
    crowd->answered++;
    crowd->good += answer->credentials != NULL;
    crowd->is_done = crowd->answered == 1000;
}

/* A thousand accounts at once: however the requests travel, no more of them have left than the rate allows. */
static void a_thousand_roles_at_once_keep_to_the_rate(void **state)
{
    (void)state;
    enum { ROLES = 1000, RATE = 200, BURST = 20, STEP_MS = 5 };
    static const struct roles_settings settings = {.session_name = "tests", .calls_per_second = RATE};
    static struct http_script_answer answers[ROLES + 1];
    struct scripted_aws aws;
    struct crowd crowd = {0};
    /* One is throttled: its second attempt takes its turn like any other. */
    for (size_t i = 0; i <= ROLES; i++) {
        answers[i] = i == 7 ? (struct http_script_answer){.status = 503}
                            : (struct http_script_answer){.status = 200, .body = ASSUMED("ASIA1", FUTURE)};
    }
    scripted_aws_start(&aws, answers, ROLES + 1);
    struct roles *roles = roles_new(aws.client, &settings);
    for (size_t i = 0; i < ROLES; i++) {
        AUTO(text) char *arn = text_format("arn:aws:iam::%012zu:role/deployer", i);
        struct role_request request = {.role_arn = arn, .region = "us-east-1"};
        (void)roles_get(roles, &request, on_crowd_answer, &crowd);
    }
    for (int64_t passed_ms = 0; passed_ms <= (ROLES - BURST) * 1000 / RATE + 100; passed_ms += STEP_MS) {
        for (int i = 0; i < 3; i++) {
            loop_turn(aws.loop, 0);
        }
        assert_true(http_script_count(aws.script) <= (size_t)(BURST + passed_ms * RATE / 1000));
        moved_clock_by(STEP_MS);
    }
    /* The answers take real time, and the pause before the second attempt is virtual. */
    for (int i = 0; i < TURNS_MAXIMUM && !crowd.is_done; i++) {
        moved_clock_by(1);
        loop_turn(aws.loop, 5);
    }
    assert_int_equal(crowd.good, ROLES);
    assert_int_equal(http_script_count(aws.script), ROLES + 1);
    roles_free(roles);
    scripted_aws_stop(&aws);
}

static void waits_for_a_turn_can_be_given_up(void **state)
{
    (void)state;
    static const struct roles_settings settings = {.session_name = "tests", .calls_per_second = 1};
    static const struct http_script_answer answers[] = {{.status = 200, .body = ASSUMED("ASIA1", FUTURE)}};
    struct role_request other = plain;
    struct ending endings[2] = {{0}};
    struct scripted_aws aws;
    other.external_id = "other";
    scripted_aws_start(&aws, answers, 1);
    struct roles *roles = roles_new(aws.client, &settings);
    (void)roles_get(roles, &plain, on_answer, &endings[0]);
    (void)roles_get(roles, &other, on_answer, &endings[1]);
    loop_until(aws.loop, &endings[0].is_done);
    roles_free(roles); /* with one in the queue */
    moved_clock_by(HOUR_MS);
    loop_turn(aws.loop, 0);
    assert_false(endings[1].is_done);
    assert_int_equal(http_script_count(aws.script), 1);
    scripted_aws_stop(&aws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(however_many_ask_there_is_one_call_and_then_none, surroundings_set),
        cmocka_unit_test_setup_teardown(a_role_that_cannot_be_assumed_is_not_asked_again_at_once, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup(each_way_to_ask_for_a_role_is_an_entry_of_its_own, surroundings_set),
        cmocka_unit_test_setup(a_key_that_has_expired_is_forgotten_and_asked_for_anew, surroundings_set),
        cmocka_unit_test_setup_teardown(a_key_that_comes_expired_is_an_error_and_not_handed_out, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup(an_expired_main_key_is_read_anew_for_the_next_question, surroundings_set),
        cmocka_unit_test_setup(main_and_profile_keys_need_no_call, surroundings_set),
        cmocka_unit_test_setup(without_main_key_no_role_can_be_assumed, surroundings_set),
        cmocka_unit_test_setup(one_who_gives_up_does_not_disturb_the_others, surroundings_set),
        cmocka_unit_test_setup(one_who_is_cancelled_by_anothers_answer_is_not_called, surroundings_set),
        cmocka_unit_test_setup(more_may_be_asked_from_an_answer_than_there_is_room_for, surroundings_set),
        cmocka_unit_test_setup(roles_that_go_call_nobody, surroundings_set),
        cmocka_unit_test_setup_teardown(a_key_is_renewed_before_it_ends_and_used_meanwhile, clock_stand, clock_reset),
        cmocka_unit_test_setup_teardown(keys_that_came_together_are_not_renewed_together, clock_stand, clock_reset),
        cmocka_unit_test_setup_teardown(a_failed_renewal_leaves_the_good_key_and_is_not_repeated_at_once, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup_teardown(a_key_that_could_not_be_renewed_is_not_used_beyond_its_end, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup_teardown(main_credentials_are_asked_for_once_and_renewed_like_a_role, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup_teardown(main_credentials_that_cannot_be_had_are_not_asked_for_by_every_role,
                                        clock_stand, clock_reset),
        cmocka_unit_test_setup_teardown(a_profile_may_be_a_chain_of_roles, clock_stand, clock_reset),
        cmocka_unit_test_setup_teardown(a_web_identity_whose_token_is_missing_is_named_and_asks_nobody, clock_stand,
                                        clock_reset),
        cmocka_unit_test_setup_teardown(a_thousand_roles_at_once_keep_to_the_rate, clock_stand, clock_reset),
        cmocka_unit_test_setup_teardown(waits_for_a_turn_can_be_given_up, clock_stand, clock_reset),
    };
    return cmocka_run_group_tests_name("role", tests, file_make, file_remove);
}
