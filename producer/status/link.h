/*
 * notifier.link: where a status leads to, with what it is about filled in. Pure.
 */
#pragma once

#define LINK_PLACEHOLDERS "{deployment} {repository} {ref} {commit}"

enum { LINK_MAXIMUM_BYTES = 1024 };

/* What is wrong with the template, or NULL. */
const char *link_mistake(const char *template);

/* Values are encoded as parts of a path. NULL for a NULL template. The caller frees it. */
char *link_fill(const char *template, const char *deployment, const char *repository, const char *ref,
                const char *commit);
