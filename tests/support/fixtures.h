/*
 * Public test data of others (signing suites, endpoint rules, retry cases). It is no part of the project: the tests
 * look for it in the folder that TAGFLEET_FIXTURES names, else in ../shared/fixtures beside the project, and are
 * skipped by name and count when it is not there.
 */
#pragma once

#include <cjson/cJSON.h>

#include <stdbool.h>

/* Where it would be. The caller frees the text. */
char *fixture_path(const char *path);

/* The whole file, ended by NUL; NULL when it is not there. The caller frees it. */
char *fixture_read(const char *path);

/* A JSON file; NULL when it is not there. A file that is not JSON fails the test. The caller frees it. */
cJSON *fixture_json(const char *path);

/* Is this file or folder here? Says what is skipped when it is not. */
bool fixture_is_here(const char *path, const char *what);
