#include "workers/common/engine/admin.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/status.h"

enum { ANSWER_MAXIMUM_BYTES = 4 * 1024 * 1024 };

static unsigned admin_write(const struct engine *engine, const char *path, struct buffer *body)
{
    if (strcmp(path, "/healthz") == 0) {
        bool is_healthy = status_is_healthy(engine, body);
        buffer_append_text(body, is_healthy ? "ok\n" : "");
        return is_healthy ? 200 : 503;
    }
    if (strcmp(path, "/readyz") == 0) {
        bool is_ready = status_is_ready(engine);
        buffer_append_text(body, is_ready ? "ready\n" : "not ready\n");
        return is_ready ? 200 : 503;
    }
    if (strcmp(path, "/metrics") == 0) {
        status_write_metrics(engine, body);
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

bool admin_open(struct engine *engine, const char *address, struct listener **ret_listener, struct error *err)
{
    const struct listener_settings settings = {
        .address = address,
        .body_maximum_bytes = 1024,
        .connections_maximum = 16,
        .head_maximum_bytes = 16 * 1024,
        .timeout_s = 10,
        .on_request = admin_requested,
        .context = engine,
    };
    *ret_listener = NULL;
    if (address[0] == '\0') {
        return true;
    }
    if (!listener_open(engine->loop, &settings, ret_listener, err)) {
        return error_prefix(err, "%s.admin", engine->worker->name);
    }
    log_event(LOG_INFO, "health and metrics", "address", address, "port", log_number(listener_port(*ret_listener)),
              NULL);
    return true;
}
