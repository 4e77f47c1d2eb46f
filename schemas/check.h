/*
 * What a text may be that names something in a message: a commit, a ref, an account. Each check returns what is wrong
 * with the text, in words that go behind it ("must be ..."), or NULL. Pure.
 */
#pragma once

const char *check_not_empty(const char *text);
const char *check_account(const char *text); /* exactly 12 digits */
const char *check_commit(const char *text);  /* 7 to 64 lower-case hexadecimal digits, not all zero */
const char *check_ref(const char *text);     /* a full ref as git-check-ref-format(1) allows it, at most 1,024 bytes */
const char *
check_repository(const char *text); /* lower case, at most 256 bytes, no white space or control characters */
const char *check_deploy_tag(const char *text);    /* 1 to 128 bytes, no white space, commas or control characters */
const char *check_artifact_name(const char *text); /* a build's name: 1 to 256 bytes, a safe piece of an object key */
const char *check_deployment(const char *text);    /* d- and 16 lower-case hexadecimal digits */
const char *check_base64(const char *text);
const char *check_arn(const char *text);
