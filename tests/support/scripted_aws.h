/*
 * S3 and STS by script: a loop, a client whose endpoints both lead to an http_script, and a key. Retries are as many as
 * SCRIPTED_ATTEMPTS allows, and quick.
 */
#pragma once

#include "tests/support/http_script.h"
#include "workers/common/aws/client.h"

enum { SCRIPTED_ATTEMPTS = 4 };

struct scripted_aws {
    struct http_script *script;
    struct loop *loop;
    struct aws_client *client;
    struct credentials *key;
};

/* The answers are borrowed until scripted_aws_stop. */
void scripted_aws_start(struct scripted_aws *aws, const struct http_script_answer *answers, size_t count);
void scripted_aws_start_choosing(struct scripted_aws *aws, http_script_choose *choose, void *context);
void scripted_aws_stop(struct scripted_aws *aws);

/* Far enough away for everything that is expected to happen. */
int64_t scripted_deadline_ms(void);

/* The request at a position has the header with this value; expected NULL: it has none of that name. */
void scripted_expect_header(struct scripted_aws *aws, size_t position, const char *name, const char *expected);
