#include "workers/common/http/admin.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/log.h"
#include "workers/common/base/process_metric.h"

enum { ANSWER_MAXIMUM_BYTES = 4 * 1024 * 1024 };

static unsigned admin_write(const struct admin_view *view, const char *path, struct buffer *body)
{
    if (strcmp(path, "/healthz") == 0) {
        bool is_healthy = view->is_healthy(view->subject, body);
        buffer_append_text(body, is_healthy ? "ok\n" : "");
        return is_healthy ? 200 : 503;
    }
    if (strcmp(path, "/readyz") == 0) {
        const char *reason = view->why_not_ready(view->subject);
        if (reason == NULL) {
            buffer_append_text(body, "ready\n");
            return 200;
        }
        buffer_append_format(body, "not ready: %s\n", reason);
        return 503;
    }
    if (strcmp(path, "/metrics") == 0) {
        view->write_metrics(view->subject, body);
        process_metric_write(body);
        return 200;
    }
    buffer_append_text(body, "there are /healthz, /readyz and /metrics\n");
    return 404;
}

static void admin_requested(void *context, struct listener_request *request)
{
    AUTO(buffer) struct buffer body;
    buffer_init(&body, ANSWER_MAXIMUM_BYTES);
    struct listener_answer answer = {.content_type = "text/plain; version=0.0.4; charset=utf-8"};
    const char *method = listener_method(request);
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        answer.status = admin_write(context, listener_path(request), &body);
    } else {
        answer.status = 405;
        answer.allow = "GET, HEAD";
    }
    answer.body = buffer_slice(&body);
    listener_answer(request, &answer);
}

bool admin_open(struct loop *loop, const char *address, const struct admin_view *view, struct listener **ret_listener,
                struct error *err)
{
    const struct listener_settings settings = {
        .address = address,
        .head_maximum_bytes = 16 * 1024,
        .body_maximum_bytes = 1024,
        .connections_maximum = 16,
        .timeout_s = 10,
        .on_request = admin_requested,
        .context = (void *)(uintptr_t)view,
    };
    *ret_listener = NULL;
    if (address[0] == '\0') {
        return true;
    }
    if (!listener_open(loop, &settings, ret_listener, err)) {
        return error_prefix(err, "admin");
    }
    log_event(LOG_INFO, "health and metrics", "address", address, "port", log_number(listener_port(*ret_listener)),
              NULL);
    return true;
}
