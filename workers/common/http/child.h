/*
 * Another program, run by the loop: in a process group of its own, with nothing on its standard input and none of our
 * descriptors. What it prints is bounded, and so is its time. Nothing here blocks: the loop watches its outputs and
 * looks for its end every few milliseconds.
 */
#pragma once

#include "workers/common/http/loop.h"

struct child;

struct child_request {
    const char *const *arguments;   /* ended by NULL; the first is the program, looked for in PATH */
    const char *const *environment; /* ended by NULL; NULL: ours */
    const char *folder;             /* where it runs; NULL: where we do */
    bool has_no_terminal;           /* a session of its own: it cannot ask anybody anything */
    size_t output_maximum_bytes;    /* beyond it the program is killed */
    int64_t timeout_ms;             /* after it the program is killed with all its children */
};

/* How it ended; borrowed for the duration of the callback. */
struct child_end {
    bool is_ended;          /* else killed by us, or never started: see err */
    int status;             /* as waitpid tells it */
    bool is_overflowed;     /* killed: it printed too much */
    struct error err;       /* ERROR_RETRY or, when it printed too much, ERROR_REJECT */
    struct slice output;    /* wiped afterwards */
    struct slice complaint; /* the beginning of its standard error */
};

/* Answers from a later loop_dispatch, exactly once unless cancelled. Texts are copied. The handle is valid until then.
 * Never NULL. */
struct child *child_start(struct loop *loop, const struct child_request *request,
                          void (*on_end)(void *context, const struct child_end *end), void *context);
void child_cancel(struct child *child); /* kills it; NULL is fine */

/* Appends "; it says: ..." with the printable part of what it has complained, if anything, to the error's text. */
void child_explain(const struct child_end *end, struct error *err);
