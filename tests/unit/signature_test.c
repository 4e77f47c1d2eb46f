#include "producer/hosts/signature.h"

#include "schemas/json.h"
#include "tests/support/fixtures.h"
#include "tests/support/hook.h"
#include "tests/support/scratch.h"

#include <string.h>

/* The vector that GitHub's documentation publishes. */
static const char published_secret[] = "It's a Secret to Everybody";
static const char published_body[] = "Hello, World!";
static const char published[] = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

static void the_published_vector_is_genuine(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(published_secret));
    assert_true(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(published_secret));
    static const char *const forged[] = {
        NULL,
        "",
        "sha256=",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e18",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1700",
        "sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17",
        "sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "SHA256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        " sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17, sha256=00",
    };
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        if (signature_check_hub(&secrets, slice_of(published_body), forged[i])) {
            fail_msg("taken for genuine: %s", forged[i]);
        }
    }
    assert_false(signature_check_hub(&secrets, slice_of("Hello, World! "), published));
    assert_false(signature_check_hub(&secrets, slice_of(""), published));
}

static void both_secrets_are_good_while_one_replaces_the_other(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of("the new one"));
    assert_false(signature_check_hub(&secrets, slice_of(published_body), published));
    secrets_add(&secrets, slice_of(published_secret));
    assert_true(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void without_a_secret_nothing_is_genuine(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(""));
    assert_int_equal(secrets.count, 0);
    assert_false(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void a_secret_file_holds_one_secret_a_line(void **state)
{
    (void)state;
    struct error err;
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, "first\r\n\nsecond\nthird\n");
    AUTO(secrets) struct secrets secrets = {0};
    assert_true(secrets_read_file(scratch.path, &secrets, &err));
    assert_int_equal(secrets.count, 2);
    assert_string_equal(secrets.items[0], "first");
    assert_string_equal(secrets.items[1], "second");
    scratch_write(&scratch, "\n");
    AUTO(secrets) struct secrets none = {0};
    assert_false(secrets_read_file(scratch.path, &none, &err));
    assert_non_null(strstr(err.text, "holds no secret"));
    assert_int_equal(scratch_remove(&scratch), 0);
    assert_false(secrets_read_file(scratch.path, &none, &err));
    assert_int_equal(err.action, ERROR_FATAL);
    assert_non_null(strstr(err.text, scratch.path));
}

static void a_bare_hex_signature_has_no_prefix(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(published_secret));
    const char *bare = published + strlen("sha256=");
    assert_true(signature_check_hex(&secrets, slice_of(published_body), bare));
    assert_false(signature_check_hex(&secrets, slice_of(published_body), published));
    assert_false(signature_check_hex(&secrets, slice_of(published_body), bare + 1));
    assert_false(signature_check_hex(&secrets, slice_of(published_body), ""));
    assert_false(signature_check_hex(&secrets, slice_of(published_body), NULL));
}

static void a_token_is_the_secret_itself(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    assert_false(signature_check_token(&secrets, ""));
    secrets_add(&secrets, slice_of("new token"));
    secrets_add(&secrets, slice_of("old token"));
    assert_true(signature_check_token(&secrets, "new token"));
    assert_true(signature_check_token(&secrets, "old token"));
    static const char *const forged[] = {NULL, "", "new toke", "new token ", "New token", "new tokenold token", "n"};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        assert_false(signature_check_token(&secrets, forged[i]));
    }
}

/* The vector of the Standard Webhooks specification. */
#define STANDARD_SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define STANDARD_BODY "{\"test\": 2432232314}"
#define STANDARD_SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define STANDARD_ID "msg_p5jXN8AQM9LWM0D4loKWxJek"
enum { STANDARD_S = 1614265330 };

static bool standard(const char *secret, const char *id, const char *timestamp, const char *signatures, int64_t now_s)
{
    AUTO(secrets) struct secrets secrets = {0};
    struct standard_webhook webhook = {id, timestamp, signatures};
    secrets_add(&secrets, slice_of(secret));
    return signature_check_standard(&secrets, slice_of(STANDARD_BODY), &webhook, now_s * 1000);
}

static void the_vector_of_standard_webhooks_is_genuine_for_five_minutes(void **state)
{
    (void)state;
    static const struct {
        int64_t off_s;
        bool is_genuine;
    } rows[] = {{0, true}, {300, true}, {-300, true}, {301, false}, {-301, false}, {86400, false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(
            standard(STANDARD_SECRET, STANDARD_ID, "1614265330", STANDARD_SIGNATURE, STANDARD_S + rows[i].off_s),
            rows[i].is_genuine);
    }
}

static void one_right_signature_of_a_list_is_enough(void **state)
{
    (void)state;
    static const char *const good[] = {
        "v1,AAAA v1,"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= " STANDARD_SIGNATURE,
        STANDARD_SIGNATURE " v2,whatever",
        "v1a,xyz  " STANDARD_SIGNATURE,
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(standard(STANDARD_SECRET, STANDARD_ID, "1614265330", good[i], STANDARD_S));
    }
}

static void any_other_standard_webhook_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *secret;
        const char *id;
        const char *timestamp;
        const char *signatures;
    } rows[] = {
        {STANDARD_SECRET, NULL, "1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, "", "1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, "msg_other", "1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID ".1", "1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, NULL, STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "1614265331", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, " 1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "+1614265330", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "1614265330x", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "99999999999999999999", STANDARD_SIGNATURE},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", NULL},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", ""},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "v1,"},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE"},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "V1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "v1,G0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {STANDARD_SECRET, STANDARD_ID, "1614265330", STANDARD_SIGNATURE "," STANDARD_SIGNATURE},
        {"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
        {"whsec_", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
        {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
        {"whsec_****", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
        {"whsec_AAAA", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
        {"WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", STANDARD_ID, "1614265330", STANDARD_SIGNATURE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (standard(rows[i].secret, rows[i].id, rows[i].timestamp, rows[i].signatures, STANDARD_S)) {
            fail_msg("row %zu was taken for genuine", i);
        }
    }
}

#define GITLAB_SIGNED                                                                                                  \
    "webhook-id", STANDARD_ID, "webhook-timestamp", "1614265330", "webhook-signature", STANDARD_SIGNATURE

/* Whoever has seen the plain token of a hook gets nowhere with it once a signing token is configured. */
static void gitlabs_signature_cannot_be_evaded_by_the_token(void **state)
{
    (void)state;
    static const char *const token[] = {"X-Gitlab-Token", "plain", NULL};
    static const char *const secret_as_token[] = {"X-Gitlab-Token", STANDARD_SECRET, NULL};
    static const char *const signed_alone[] = {GITLAB_SIGNED, NULL};
    static const char *const both[] = {"X-Gitlab-Token", "plain", GITLAB_SIGNED, NULL};
    static const char *const wrong_signature[] = {
        "X-Gitlab-Token",    "plain",   "webhook-id", STANDARD_ID, "webhook-timestamp", "1614265330",
        "webhook-signature", "v1,AAAA", NULL};
    static const struct {
        const char *secrets[2];
        const char *const *headers;
        bool is_genuine;
    } rows[] = {
        {{"plain"}, token, true},
        {{"plain"}, both, true},
        {{"plain"}, signed_alone, false},
        {{STANDARD_SECRET}, token, false},
        {{STANDARD_SECRET}, secret_as_token, false},
        {{STANDARD_SECRET}, signed_alone, true},
        {{STANDARD_SECRET}, both, true},
        {{STANDARD_SECRET}, wrong_signature, false},
        {{STANDARD_SECRET, "plain"}, token, false},
        {{"plain", STANDARD_SECRET}, token, false},
        {{STANDARD_SECRET, "plain"}, wrong_signature, false},
        {{STANDARD_SECRET, "plain"}, secret_as_token, false},
        {{"plain", STANDARD_SECRET}, both, true},
        {{"whsec_AAAA", STANDARD_SECRET}, signed_alone, true},
        {{STANDARD_SECRET, "whsec_AAAA"}, signed_alone, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO(secrets) struct secrets secrets = {0};
        secrets_add(&secrets, slice_of(rows[i].secrets[0]));
        secrets_add(&secrets, slice_of(rows[i].secrets[1]));
        if (hook_is_genuine(&gitlab_host, &secrets, STANDARD_BODY, rows[i].headers, INT64_C(1000) * STANDARD_S) !=
            rows[i].is_genuine) {
            fail_msg("row %zu: should be %d", i, rows[i].is_genuine);
        }
    }
}

/* For every host: its own header, once, and no other. */
static void each_host_reads_its_own_header_and_only_once(void **state)
{
    (void)state;
    static const struct {
        const struct host *host;
        const char *header;
        bool is_bare;
    } rows[] = {
        {&bitbucket_host, "X-Hub-Signature", false},    {&bitbucket_server_host, "X-Hub-Signature", false},
        {&github_host, "X-Hub-Signature-256", false},   {&gitea_host, "X-Gitea-Signature", true},
        {&gitea_host, "X-Forgejo-Signature", true},     {&gogs_host, "X-Gogs-Signature", true},
        {&generic_host, "x-tagfleet-signature", false},
    };
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of("another"));
    secrets_add(&secrets, slice_of(published_secret));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *name = rows[i].header;
        const char *value = rows[i].is_bare ? published + strlen("sha256=") : published;
        const char *other_form = rows[i].is_bare ? published : published + strlen("sha256=");
        const char *const good[] = {name, value, NULL};
        const char *const doubled[] = {name, value, name, value, NULL};
        const char *const shadowed[] = {name, value, name, "", NULL};
        const char *const other[] = {name, other_form, NULL};
        const char *const empty[] = {name, "", NULL};
        const char *const elsewhere[] = {"X-Signature", value, "X-Hub-Signature-1", value, NULL};
        const char *const *const forged[] = {doubled, shadowed, other, empty, elsewhere, NULL};
        assert_true(hook_is_genuine(rows[i].host, &secrets, published_body, good, 0));
        assert_false(hook_is_genuine(rows[i].host, &secrets, "Hello, World", good, 0));
        for (size_t j = 0; j < sizeof(forged) / sizeof(forged[0]); j++) {
            if (hook_is_genuine(rows[i].host, &secrets, published_body, forged[j], 0)) {
                fail_msg("%s: list %zu of %s was taken", rows[i].host->name, j, name);
            }
        }
    }
}

static void a_doubled_header_of_gitlab_is_refused(void **state)
{
    (void)state;
    static const char *const extra[] = {"webhook-id",        STANDARD_ID,        "webhook-timestamp", "1614265330",
                                        "webhook-signature", STANDARD_SIGNATURE, "X-Gitlab-Token",    "plain"};
    for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i += 2) {
        bool is_token = i == 6;
        const char *const headers[] = {"X-Gitlab-Token", "plain", GITLAB_SIGNED, extra[i], extra[i + 1], NULL};
        AUTO(secrets) struct secrets secrets = {0};
        secrets_add(&secrets, slice_of(is_token ? "plain" : STANDARD_SECRET));
        assert_false(hook_is_genuine(&gitlab_host, &secrets, STANDARD_BODY, headers, INT64_C(1000) * STANDARD_S));
    }
}

/* The three of fixtures/webhooks/signature-vectors.json, as the file has them. */
static void the_published_vectors_are_genuine(void **state)
{
    (void)state;
    AUTO(json) cJSON *vectors = fixture_json("webhooks/signature-vectors.json");
    if (vectors == NULL) {
        assert_false(fixture_is_here("webhooks/signature-vectors.json", "3 published signatures"));
        return;
    }
    size_t count = 0;
    for (const cJSON *vector = vectors->child; vector != NULL; vector = vector->next, count++) {
        const struct host *host = host_named(json_text(vector, "provider"));
        const char *file = json_text(vector, "body_file");
        AUTO(text) char *path = text_format("webhooks/%s", file != NULL ? file : "");
        AUTO(text) char *body = file != NULL ? fixture_read(path) : text_copy(json_text(vector, "body"));
        const char *value = json_text(vector, "value");
        const char *headers[] = {json_text(vector, "header"),
                                 value,
                                 "webhook-id",
                                 json_text(vector, "webhook-id"),
                                 "webhook-timestamp",
                                 json_text(vector, "webhook-timestamp"),
                                 NULL};
        AUTO(secrets) struct secrets secrets = {0};
        secrets_add(&secrets, slice_of(json_text(vector, "secret")));
        assert_true(hook_is_genuine(host, &secrets, body, headers, INT64_C(1000) * STANDARD_S));
        const cJSON *forged = json_member(vector, "must_fail");
        for (forged = forged != NULL ? forged->child : NULL; forged != NULL; forged = forged->next) {
            headers[1] = forged->valuestring;
            assert_false(hook_is_genuine(host, &secrets, body, headers, INT64_C(1000) * STANDARD_S));
        }
        headers[1] = value;
        body[0] ^= 1;
        assert_false(hook_is_genuine(host, &secrets, body, headers, INT64_C(1000) * STANDARD_S));
    }
    assert_int_equal(count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vector_is_genuine),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(both_secrets_are_good_while_one_replaces_the_other),
        cmocka_unit_test(without_a_secret_nothing_is_genuine),
        cmocka_unit_test(a_bare_hex_signature_has_no_prefix),
        cmocka_unit_test(a_token_is_the_secret_itself),
        cmocka_unit_test(the_vector_of_standard_webhooks_is_genuine_for_five_minutes),
        cmocka_unit_test(one_right_signature_of_a_list_is_enough),
        cmocka_unit_test(any_other_standard_webhook_is_refused),
        cmocka_unit_test(gitlabs_signature_cannot_be_evaded_by_the_token),
        cmocka_unit_test(each_host_reads_its_own_header_and_only_once),
        cmocka_unit_test(a_doubled_header_of_gitlab_is_refused),
        cmocka_unit_test(the_published_vectors_are_genuine),
        cmocka_unit_test(a_secret_file_holds_one_secret_a_line),
    };
    return cmocka_run_group_tests_name("signature", tests, NULL, NULL);
}
