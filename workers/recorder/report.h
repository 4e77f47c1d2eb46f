/*
 * `tagfleet status` and `tagfleet wait`: what became of deployments, read from `results` itself.
 */
#pragma once

#include "schemas/identity.h"
#include "workers/common/base/command.h"

extern const struct command status_command;
extern const struct command wait_command;

/* What the resolver made of an event. */
struct decision {
    bool is_known; /* false: it has said nothing, yet */
    char deployment[DEPLOYMENT_ID_SIZE];
    int outcome;  /* enum deployment_outcome */
    char *reason; /* NULL: none */
    size_t accounts;
};

/* Waits at most timeout_ms for what the resolver says of the event among the results since since_ms (wall clock). */
bool decision_await(const struct options *options, const char *event, int64_t since_ms, int64_t timeout_ms,
                    struct decision *ret_decision, struct error *err) MUST_CHECK;
void decision_clear(struct decision *decision);

/* How long, unless somebody says otherwise. */
enum { WAIT_TIMEOUT_DEFAULT_MS = 600000 };

/* What is waited for: a deployment by its id, or else (NULL) the newest of that commit on that ref. */
struct wait_request {
    const char *deployment;
    const char *repository;
    const char *ref; /* full */
    const char *commit;
    int64_t timeout_ms;
};

/* As the command wait: prints what happens, returns its exit code. */
int wait_for_end(const struct command_line *line, const struct wait_request *request);
