/*
 * credential_process of a profile: a command that prints a key as JSON (aws/key_document.h). It is run by /bin/sh in a
 * process group of its own, with nothing on its standard input and none of our descriptors; what it prints is bounded,
 * and so is its time. Nothing here blocks: the loop watches its outputs and looks for its end every few milliseconds.
 *
 * An error shows how the command ended and the beginning of what it wrote to its standard error, which is meant for
 * people; nothing of its standard output, which may hold a key. The command is the user's own, as trusted as the
 * profile that names it.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/http/loop.h"

struct process_call;

/* Answers from a later loop_dispatch, exactly once unless cancelled: with credentials, which the callee owns, or with
 * NULL and err. Texts are copied. A command that takes longer than timeout_ms is killed with all its children. The
 * handle is valid until then. Never NULL. */
struct process_call *
process_ask(struct loop *loop, const char *command, const char *origin, int64_t timeout_ms,
            void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context);
void process_cancel(struct process_call *call); /* kills the command; NULL is fine */
