/*
 * Scope-bound ownership: a variable declared AUTO(noun) is released by noun_free on every way out of its
 * scope; TAKE hands it over to the caller and leaves NULL behind.
 *
 *     AUTO(job) struct job *job = NULL;
 *     ...
 *     *ret_job = TAKE(job);
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define AUTO(noun) __attribute__((cleanup(noun##_auto)))

/* Defines the release function that AUTO(noun) calls; noun_free accepts NULL. */
#define DEFINE_AUTO(noun, type)                                                                                        \
    static inline void noun##_auto(type *owner)                                                                        \
    {                                                                                                                  \
        noun##_free(*owner);                                                                                           \
    }                                                                                                                  \
    struct noun##_auto_needs_semicolon

#define TAKE(owner)                                                                                                    \
    __extension__({                                                                                                    \
        __typeof__(owner) taken_ = (owner);                                                                            \
        (owner) = NULL;                                                                                                \
        taken_;                                                                                                        \
    })

static inline void text_free(char *text)
{
    free(text);
}
DEFINE_AUTO(text, char *);

static inline void descriptor_auto(int *descriptor)
{
    if (*descriptor >= 0) {
        close(*descriptor);
    }
}
