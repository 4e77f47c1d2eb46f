#include "tests/support/capture.h"

#include "tests/support/unit.h"
#include "workers/common/base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void capture_start(struct capture *capture, int descriptor)
{
    (void)fflush(NULL);
    capture->descriptor = descriptor;
    capture->saved = dup(descriptor);
    capture->file = memfd_create("capture", MFD_CLOEXEC);
    assert_true(capture->saved >= 0 && capture->file >= 0);
    assert_true(dup2(capture->file, descriptor) == descriptor);
}

char *capture_end(struct capture *capture)
{
    (void)fflush(NULL);
    assert_true(dup2(capture->saved, capture->descriptor) == capture->descriptor);
    off_t size = lseek(capture->file, 0, SEEK_END);
    assert_true(size >= 0);
    char *text = memory_zeroed((size_t)size + 1, 1);
    assert_true(pread(capture->file, text, (size_t)size, 0) == (ssize_t)size);
    close(capture->saved);
    close(capture->file);
    return text;
}
