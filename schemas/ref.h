/*
 * The forms in which people and build systems write a ref.
 */
#pragma once

/* The full name of a ref given as refs/heads/X, refs/tags/X, heads/X, tags/X, or as CodeBuild writes it, branch/X and
 * tag/X. NULL for anything else: a bare name is a branch only to people. The caller frees it. */
char *ref_full_name(const char *text);
