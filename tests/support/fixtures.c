#include "tests/support/fixtures.h"

#include "tests/support/unit.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIXTURE_MAXIMUM_BYTES = 16 << 20 };

char *fixture_path(const char *path)
{
    const char *folder = getenv("TAGFLEET_FIXTURES");
    return text_format("%s/%s", folder != NULL && folder[0] != '\0' ? folder : "../shared/fixtures", path);
}

char *fixture_read(const char *path)
{
    AUTO(text) char *whole_path = fixture_path(path);
    AUTO(buffer) struct buffer content;
    struct error err;
    buffer_init(&content, FIXTURE_MAXIMUM_BYTES);
    return file_read(whole_path, &content, &err) ? slice_copy(buffer_slice(&content)) : NULL;
}

cJSON *fixture_json(const char *path)
{
    AUTO(text) char *text = fixture_read(path);
    if (text == NULL) {
        return NULL;
    }
    cJSON *json = cJSON_Parse(text);
    if (json == NULL) {
        fail_msg("%s is not JSON", path);
    }
    return json;
}

bool fixture_is_here(const char *path, const char *what)
{
    AUTO(text) char *whole_path = fixture_path(path);
    if (access(whole_path, R_OK) == 0) {
        return true;
    }
    (void)printf("skipped: %s (%s is not here)\n", what, whole_path);
    return false;
}
