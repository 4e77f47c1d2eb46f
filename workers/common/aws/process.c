#include "workers/common/aws/process.h"

#include "workers/common/aws/key_document.h"
#include "workers/common/base/auto.h"
#include "workers/common/http/child.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { OUTPUT_MAXIMUM_BYTES = 64 * 1024 };

struct process_call {
    struct child *child;
    char *origin;
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err);
    void *context;
};

static void call_free(struct process_call *call)
{
    free(call->origin);
    free(call);
}

static bool result_read(const struct process_call *call, const struct child_end *end,
                        struct credentials **ret_credentials, struct error *err)
{
    if (!end->is_ended) {
        *err = end->err;
        return false;
    }
    if (WIFSIGNALED(end->status)) {
        return error_set(err, ERROR_RETRY, "ended by signal %d", WTERMSIG(end->status));
    }
    if (WEXITSTATUS(end->status) != 0) {
        /* It may be the network of the tool, so the next question is worth while. */
        return error_set(err, ERROR_RETRY, "exit status %d", WEXITSTATUS(end->status));
    }
    return key_document_read(end->output, KEY_GIVER_PROCESS, call->origin, ret_credentials, err);
}

static void process_ended(void *context, const struct child_end *end)
{
    struct process_call *call = context;
    struct credentials *credentials = NULL;
    struct error err;
    if (!result_read(call, end, &credentials, &err)) {
        if (!end->is_overflowed) {
            child_explain(end, &err);
        }
        (void)error_prefix(&err, "credential_process of %.80s", call->origin);
    }
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err) = call->on_done;
    void *owner = call->context;
    call_free(call);
    on_done(owner, credentials, &err);
}

struct process_call *
process_ask(struct loop *loop, const char *command, const char *origin, int64_t timeout_ms,
            void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context)
{
    struct process_call *call = memory_zeroed(1, sizeof(*call));
    const char *const arguments[] = {"/bin/sh", "-c", command, NULL};
    struct child_request request = {
        .arguments = arguments,
        .output_maximum_bytes = OUTPUT_MAXIMUM_BYTES,
        .timeout_ms = timeout_ms,
    };
    call->origin = text_copy(origin);
    call->on_done = on_done;
    call->context = context;
    call->child = child_start(loop, &request, process_ended, call);
    return call;
}

void process_cancel(struct process_call *call)
{
    if (call != NULL) {
        child_cancel(call->child);
        call_free(call);
    }
}
