#include "workers/common/aws/failure.h"

#include "workers/common/aws/xml.h"

#include <stdio.h>
#include <string.h>

/* What a code or a status means. The first row that fits wins; a row without a code is for every other code. */
static const struct {
    const char *code;
    int status; /* 0: any */
    enum failure_kind kind;
} meanings[] = {
    {"SlowDown", 0, FAILURE_THROTTLED},
    {"Throttling", 0, FAILURE_THROTTLED},
    {"ThrottlingException", 0, FAILURE_THROTTLED},
    {"ThrottledException", 0, FAILURE_THROTTLED},
    {"RequestThrottled", 0, FAILURE_THROTTLED},
    {"RequestThrottledException", 0, FAILURE_THROTTLED},
    {"TooManyRequestsException", 0, FAILURE_THROTTLED},
    {"RequestLimitExceeded", 0, FAILURE_THROTTLED},
    {"BandwidthLimitExceeded", 0, FAILURE_THROTTLED},
    {"LimitExceededException", 0, FAILURE_THROTTLED},
    {"PriorRequestNotComplete", 0, FAILURE_THROTTLED},
    {"RequestTimeTooSkewed", 0, FAILURE_CLOCK_SKEW},
    {"RequestExpired", 0, FAILURE_CLOCK_SKEW},
    {"RequestInTheFuture", 0, FAILURE_CLOCK_SKEW},
    {"ExpiredToken", 0, FAILURE_EXPIRED_TOKEN},
    {"ExpiredTokenException", 0, FAILURE_EXPIRED_TOKEN},
    {"TokenRefreshRequired", 0, FAILURE_EXPIRED_TOKEN},
    {"PermanentRedirect", 0, FAILURE_WRONG_REGION},
    {"TemporaryRedirect", 0, FAILURE_WRONG_REGION},
    {"AuthorizationHeaderMalformed", 0, FAILURE_WRONG_REGION},
    {"IllegalLocationConstraintException", 0, FAILURE_WRONG_REGION},
    {"InvalidAccessKeyId", 0, FAILURE_BAD_CREDENTIALS},
    {"SignatureDoesNotMatch", 0, FAILURE_BAD_CREDENTIALS},
    {"InvalidClientTokenId", 0, FAILURE_BAD_CREDENTIALS},
    {"UnrecognizedClientException", 0, FAILURE_BAD_CREDENTIALS},
    {"InvalidToken", 0, FAILURE_BAD_CREDENTIALS},
    {"NoSuchBucket", 0, FAILURE_NO_BUCKET},
    {"NoSuchKey", 0, FAILURE_NO_KEY},
    {"NoSuchVersion", 0, FAILURE_NO_KEY},
    {"NoSuchUpload", 0, FAILURE_NO_UPLOAD},
    {"PreconditionFailed", 0, FAILURE_PRECONDITION},
    {"ConditionalRequestConflict", 0, FAILURE_TRANSIENT},
    {"OperationAborted", 0, FAILURE_TRANSIENT},
    {"RequestTimeout", 0, FAILURE_TRANSIENT},
    {"RequestTimeoutException", 0, FAILURE_TRANSIENT},
    {"InternalError", 0, FAILURE_TRANSIENT},
    {"ServiceUnavailable", 0, FAILURE_TRANSIENT},
    {"IDPCommunicationError", 0, FAILURE_TRANSIENT},
    {"AccessDenied", 0, FAILURE_ACCESS_DENIED},
    {"AccessDeniedException", 0, FAILURE_ACCESS_DENIED},
    {NULL, 301, FAILURE_WRONG_REGION},
    {NULL, 307, FAILURE_WRONG_REGION},
    {NULL, 403, FAILURE_ACCESS_DENIED},
    {NULL, 404, FAILURE_NO_KEY},
    {NULL, 408, FAILURE_TRANSIENT},
    {NULL, 412, FAILURE_PRECONDITION},
    {NULL, 429, FAILURE_THROTTLED},
    {NULL, 500, FAILURE_TRANSIENT},
    {NULL, 502, FAILURE_TRANSIENT},
    {NULL, 503, FAILURE_TRANSIENT},
    {NULL, 504, FAILURE_TRANSIENT},
};

static const struct {
    const char *name;
    enum error_action action;
    const char *words; /* for people */
} kinds[] = {
    [FAILURE_NONE] = {"none", ERROR_NONE, ""},
    [FAILURE_UNREACHABLE] = {"unreachable", ERROR_RETRY, "no answer"},
    [FAILURE_TRANSIENT] = {"transient", ERROR_RETRY, "the service has trouble of its own"},
    [FAILURE_THROTTLED] = {"throttled", ERROR_RETRY, "the service asks to slow down"},
    [FAILURE_CLOCK_SKEW] = {"clock_skew", ERROR_RETRY, "this machine's clock differs from the service's"},
    [FAILURE_EXPIRED_TOKEN] = {"expired_token", ERROR_RETRY, "the credentials have expired"},
    [FAILURE_WRONG_REGION] = {"wrong_region", ERROR_REJECT, "the bucket is in another region"},
    [FAILURE_ACCESS_DENIED] = {"access_denied", ERROR_REJECT, "access denied"},
    [FAILURE_BAD_CREDENTIALS] = {"bad_credentials", ERROR_REJECT, "the access key or its secret is wrong"},
    [FAILURE_NO_BUCKET] = {"no_bucket", ERROR_REJECT, "the bucket does not exist"},
    [FAILURE_NO_KEY] = {"no_key", ERROR_REJECT, "the object does not exist"},
    [FAILURE_NO_UPLOAD] = {"no_upload", ERROR_REJECT, "the multipart upload does not exist"},
    [FAILURE_PRECONDITION] = {"precondition", ERROR_REJECT, "the object has changed meanwhile"},
    [FAILURE_INVALID] = {"invalid", ERROR_REJECT, "refused"},
};

enum error_action failure_action(enum failure_kind kind)
{
    return kinds[kind].action;
}

const char *failure_kind_name(enum failure_kind kind)
{
    return kinds[kind].name;
}

static enum failure_kind kind_of(const char *code, int status)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        bool fits = meanings[i].code != NULL ? strcmp(code, meanings[i].code) == 0 : status == meanings[i].status;
        if (fits) {
            return meanings[i].kind;
        }
    }
    return status >= 500 ? FAILURE_TRANSIENT : FAILURE_INVALID;
}

static void text_keep(char *ret_text, size_t size, struct slice text)
{
    if (ret_text[0] == '\0') {
        (void)snprintf(ret_text, size, "%.*s", (int)text.len, text.ptr != NULL ? text.ptr : "");
    }
}

/* <Error> of S3 and <ErrorResponse><Error> of the others. */
static void error_element(void *context, const struct xml_element *element)
{
    struct failure *failure = context;
    const char *path =
        text_starts_with(element->path, "ErrorResponse/") ? element->path + strlen("ErrorResponse/") : element->path;
    if (strcmp(path, "Error/Code") == 0) {
        text_keep(failure->code, sizeof(failure->code), element->text);
    } else if (strcmp(path, "Error/Message") == 0) {
        text_keep(failure->message, sizeof(failure->message), element->text);
    } else if (strcmp(path, "Error/RequestId") == 0 || strcmp(path, "RequestId") == 0) {
        text_keep(failure->request_id, sizeof(failure->request_id), element->text);
    } else if (strcmp(path, "Error/Region") == 0) {
        text_keep(failure->region, sizeof(failure->region), element->text);
    }
}

bool failure_is_in_body(struct slice body)
{
    /* Nearly every answer is a good one, and parsing it once more just to know costs as much as signing. */
    if (body.len == 0 || memmem(body.ptr, body.len, "Error", strlen("Error")) == NULL) {
        return false;
    }
    char name[64];
    struct buffer root;
    buffer_init(&root, sizeof(name));
    bool is_error = xml_root(body, &root) && (strcmp(root.ptr, "Error") == 0 || strcmp(root.ptr, "ErrorResponse") == 0);
    buffer_done(&root);
    return is_error;
}

void failure_read(const struct http_answer *answer, bool is_success_broken, struct failure *ret_failure)
{
    *ret_failure = (struct failure){.status = answer->status};
    if (answer->status == 0) {
        ret_failure->kind = answer->err.action == ERROR_REJECT ? FAILURE_INVALID : FAILURE_UNREACHABLE;
        (void)snprintf(ret_failure->message, sizeof(ret_failure->message), "%.255s", answer->err.text);
        ret_failure->is_uncertain = answer->is_timed_out || answer->err.action == ERROR_RETRY;
        return;
    }
    struct error err;
    (void)!xml_read(answer->body, error_element, ret_failure, &err);
    text_keep(ret_failure->request_id, sizeof(ret_failure->request_id), http_answer_header(answer, "x-amz-request-id"));
    text_keep(ret_failure->region, sizeof(ret_failure->region), http_answer_header(answer, "x-amz-bucket-region"));
    if (is_success_broken) {
        bool is_known = ret_failure->code[0] != '\0' && kind_of(ret_failure->code, 0) != FAILURE_INVALID;
        ret_failure->kind = is_known ? kind_of(ret_failure->code, 0) : FAILURE_TRANSIENT;
        ret_failure->is_uncertain = ret_failure->code[0] == '\0';
        return;
    }
    ret_failure->kind = kind_of(ret_failure->code, answer->status);
    bool has_no_region = ret_failure->kind == FAILURE_WRONG_REGION && ret_failure->region[0] == '\0';
    if (has_no_region && answer->status == 400) {
        ret_failure->kind = FAILURE_INVALID;
    }
    ret_failure->is_uncertain = answer->status >= 500 && ret_failure->kind == FAILURE_TRANSIENT;
}

bool failure_describe(const struct failure *failure, const char *operation, const char *origin, struct error *err)
{
    char detail[420] = "";
    if (failure->status != 0) {
        (void)snprintf(detail, sizeof(detail), " (%d%s%s%s%.120s%s%.60s)", failure->status,
                       failure->code[0] != '\0' ? " " : "", failure->code, failure->message[0] != '\0' ? ": " : "",
                       failure->message, failure->request_id[0] != '\0' ? "; request " : "", failure->request_id);
    } else {
        (void)snprintf(detail, sizeof(detail), " (%.200s)", failure->message);
    }
    bool needs_who = failure->kind == FAILURE_ACCESS_DENIED || failure->kind == FAILURE_BAD_CREDENTIALS ||
                     failure->kind == FAILURE_EXPIRED_TOKEN;
    bool is_elsewhere = failure->kind == FAILURE_WRONG_REGION && failure->region[0] != '\0';
    const char *joint = needs_who && origin != NULL ? " for " : is_elsewhere ? ": " : "";
    const char *what = needs_who && origin != NULL ? origin : is_elsewhere ? failure->region : "";
    return error_set(err, kinds[failure->kind].action, "%.200s: %s%s%.120s%s", operation, kinds[failure->kind].words,
                     joint, what, detail);
}
