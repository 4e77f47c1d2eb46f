/*
 * What a build says when it has published its artifacts, or anybody when a ref has moved: made into the neutral event
 * from flags, from CodeBuild's variables in place of the reference's put-item line, or from a file of JSON lines.
 */
#pragma once

#include "schemas/event.h"

/* What an emit says; NULL: not said. */
struct emit_request {
    const char *repository;
    const char *ref;
    const char *commit;
    const char *build;
    const char *before;
    const char *actor;
};

/* Makes the event: the repository in lower case or from a URL, the ref in any of its forms. The caller frees it.
 * Refused (ERROR_REJECT) with the name of what is missing or ill-formed, or still a placeholder such as "$COMMIT". */
bool emit_event(const struct emit_request *request, struct event **ret_event, struct error *err) MUST_CHECK;

/* What CodeBuild's variables say, for what the flags have left open. get is getenv. Refuses a failed build. Texts are
 * borrowed from the environment or kept in the scratch. */
bool emit_from_codebuild(const char *(*get)(const char *name), struct emit_request *request, char *scratch,
                         size_t scratch_size, struct error *err) MUST_CHECK;

/* One line of a file: {"repository", "ref", "commit", "before", "build", "actor"}, as the generic webhook takes it
 * (producer/hosts/generic.c). The caller frees the event. */
bool emit_from_line(struct slice line, struct event **ret_event, struct error *err) MUST_CHECK;
