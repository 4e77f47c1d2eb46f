/*
 * What went wrong, and what to do about it. An error lives on the caller's stack and holds no memory. A function
 * that can fail returns bool and fills the error; only the engine, the commands and the tests look at the action.
 * Errors are logged once, at the top.
 */
#pragma once

#include <stdbool.h>
#include <stdlib.h>

enum error_action {
    ERROR_NONE,
    ERROR_RETRY,  /* the world may be better later */
    ERROR_REJECT, /* the input is wrong and will stay wrong */
    ERROR_FATAL,  /* this process cannot go on */
};

struct error {
    enum error_action action;
    char text[512];
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define FORMAT(position) __attribute__((format(printf, position, (position) + 1)))

/* Sets action and text; always returns false, so that a failing function can end with it. Text that does not
 * fit is cut. err may be NULL. */
bool error_set(struct error *err, enum error_action action, const char *format, ...) FORMAT(3);

/* Puts "context: " before the text of an error that is already set; always returns false. */
bool error_prefix(struct error *err, const char *format, ...) FORMAT(2);

const char *error_action_name(enum error_action action);

/* Ends the process with a line on stderr when memory is gone: a restart is the recovery, and every role survives
 * being killed anywhere. Used through the allocating functions below. */
_Noreturn void error_out_of_memory(void);

/* Like their namesakes in libc, but never return NULL. */
void *memory_zeroed(size_t count, size_t size_bytes) __attribute__((malloc, returns_nonnull));
void *memory_resized(void *block, size_t size_bytes) __attribute__((returns_nonnull));
char *text_copy(const char *text) __attribute__((malloc, returns_nonnull, nonnull));
char *text_copy_or_null(const char *text) __attribute__((malloc)); /* NULL for NULL and for an empty text */
char *text_lower(const char *text) __attribute__((malloc, returns_nonnull, nonnull)); /* a copy; ASCII letters only */
char *text_format(const char *format, ...) FORMAT(1) __attribute__((malloc, returns_nonnull));
