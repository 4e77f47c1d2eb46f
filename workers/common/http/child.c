#include "workers/common/http/child.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Its end is looked for by waitpid, as a pidfd is not to be had everywhere, and its outputs may outlive it. */
enum { LOOK_INTERVAL_MS = 20 };

enum { COMPLAINT_MAXIMUM_BYTES = 200, BLOCK_BYTES = 4096, BLOCKS_AT_ONCE = 32 };

/* One of the program's two outputs. */
struct outlet {
    int descriptor; /* -1: closed */
    struct buffer content;
};

struct child {
    struct loop *loop;
    pid_t pid; /* 0: not running */
    struct outlet output;
    struct outlet complaint;
    struct loop_timer *timer;
    int start_code; /* of a program that cannot be started */
    int64_t timeout_ms;
    int64_t deadline_ms;
    void (*on_end)(void *context, const struct child_end *end);
    void *context;
};

static void outlet_close(struct child *child, struct outlet *outlet)
{
    if (outlet->descriptor >= 0) {
        loop_unwatch(child->loop, outlet->descriptor);
        close(outlet->descriptor);
        outlet->descriptor = -1;
    }
}

static void outlet_done(struct child *child, struct outlet *outlet)
{
    outlet_close(child, outlet);
    explicit_bzero(outlet->content.ptr, outlet->content.len);
    buffer_done(&outlet->content);
}

/* The program's children are killed, too. A killed process ends at once, so the wait for it is none. */
static void child_kill(struct child *child)
{
    if (child->pid > 0) {
        (void)kill(-child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        child->pid = 0;
    }
}

static void child_free(struct child *child)
{
    child_kill(child);
    outlet_done(child, &child->output);
    outlet_done(child, &child->complaint);
    loop_timer_cancel(child->loop, child->timer);
    free(child);
}

/* The callback comes before the memory goes, as it borrows the outputs; the program is gone by then. */
static void child_end(struct child *child, struct child_end *end)
{
    child_kill(child);
    outlet_close(child, &child->output);
    outlet_close(child, &child->complaint);
    end->output = buffer_slice(&child->output.content);
    end->complaint = buffer_slice(&child->complaint.content);
    child->on_end(child->context, end);
    child_free(child);
}

/* Reads what is there: at most twice what a pipe holds, as an endless writer must not hold us. What is beyond the
 * maximum is dropped and noticed in the buffer. */
static void outlet_read(struct child *child, struct outlet *outlet)
{
    char block[BLOCK_BYTES];
    for (int i = 0; i < BLOCKS_AT_ONCE && outlet->descriptor >= 0; i++) {
        ssize_t count = read(outlet->descriptor, block, sizeof(block));
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (count <= 0) {
            outlet_close(child, outlet);
            break;
        }
        size_t room = outlet->content.maximum - outlet->content.len;
        size_t kept = (size_t)count < room ? (size_t)count : room;
        buffer_append(&outlet->content, slice_from(block, kept));
        buffer_append(&outlet->content, slice_from(block + kept, (size_t)count - kept));
    }
    explicit_bzero(block, sizeof(block));
}

void child_explain(const struct child_end *end, struct error *err)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, COMPLAINT_MAXIMUM_BYTES);
    struct slice complaint = slice_trim(end->complaint);
    for (size_t i = 0; i < complaint.len; i++) {
        buffer_append_char(&text, isprint((unsigned char)complaint.ptr[i]) ? complaint.ptr[i] : ' ');
    }
    if (text.len > 0) {
        struct error before = *err;
        (void)error_set(err, before.action, "%.200s; it says: %s", before.text, text.ptr);
    }
}

static void end_overflowed(struct child *child)
{
    struct child_end end = {.is_overflowed = true};
    (void)error_set(&end.err, ERROR_REJECT, "it prints more than %zu bytes", child->output.content.maximum);
    child_end(child, &end);
}

static void end_by_itself(struct child *child, int status)
{
    child->pid = 0;
    outlet_read(child, &child->output);
    outlet_read(child, &child->complaint);
    if (child->output.content.is_overflowed) {
        end_overflowed(child);
        return;
    }
    struct child_end end = {.is_ended = true, .status = status};
    child_end(child, &end);
}

static void end_late(struct child *child)
{
    struct child_end end = {0};
    outlet_read(child, &child->complaint);
    (void)error_set(&end.err, ERROR_RETRY, "not finished after %lld ms", (long long)child->timeout_ms);
    child_end(child, &end);
}

static void child_look(void *context)
{
    struct child *child = context;
    int status = 0;
    child->timer = NULL;
    if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
        end_by_itself(child, status);
    } else if (clock_monotonic_ms() >= child->deadline_ms) {
        end_late(child);
    } else {
        child->timer = loop_after(child->loop, LOOK_INTERVAL_MS, child_look, child);
    }
}

static void output_readable(void *context)
{
    struct child *child = context;
    outlet_read(child, &child->output);
    if (child->output.content.is_overflowed) {
        end_overflowed(child);
    }
}

static void complaint_readable(void *context)
{
    struct child *child = context;
    outlet_read(child, &child->complaint);
}

static void child_unstarted(void *context)
{
    struct child *child = context;
    struct child_end end = {0};
    child->timer = NULL;
    (void)error_set(&end.err, ERROR_RETRY, "cannot be started: %s", strerror(child->start_code));
    child_end(child, &end);
}

/* Signals as a new process expects them: the fleet blocks those that it reads from a descriptor. */
static int attributes_fill(posix_spawnattr_t *attributes, bool has_no_terminal)
{
    sigset_t none;
    sigset_t ignored;
    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    int group = has_no_terminal ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP;
    short flags = (short)(group | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int code = posix_spawnattr_setflags(attributes, flags);
    code = code != 0 ? code : posix_spawnattr_setpgroup(attributes, 0);
    code = code != 0 ? code : posix_spawnattr_setsigmask(attributes, &none);
    return code != 0 ? code : posix_spawnattr_setsigdefault(attributes, &ignored);
}

static int actions_fill(posix_spawn_file_actions_t *actions, const char *folder, int output, int complaint)
{
    int code = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, complaint, STDERR_FILENO);
    code = code != 0 || folder == NULL ? code : posix_spawn_file_actions_addchdir_np(actions, folder);
    return code != 0 ? code : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

/* A copy of a list of texts in one block, as posix_spawn wants to have it. */
static char **texts_copy(const char *const *texts)
{
    size_t count = 0;
    size_t bytes = 0;
    for (; texts[count] != NULL; count++) {
        bytes += strlen(texts[count]) + 1;
    }
    char **copy = memory_zeroed(1, (count + 1) * sizeof(char *) + bytes);
    char *at = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(texts[i]) + 1;
        copy[i] = memcpy(at, texts[i], size);
        at += size;
    }
    return copy;
}

static int program_spawn(const struct child_request *request, int output, int complaint, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0) {
        error_out_of_memory();
    }
    char **arguments = texts_copy(request->arguments);
    char **environment = request->environment != NULL ? texts_copy(request->environment) : environ;
    int code = attributes_fill(&attributes, request->has_no_terminal);
    code = code != 0 ? code : actions_fill(&actions, request->folder, output, complaint);
    code = code != 0 ? code : posix_spawnp(ret_pid, arguments[0], &actions, &attributes, arguments, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    for (char **text = environment; request->environment != NULL && *text != NULL; text++) {
        explicit_bzero(*text, strlen(*text)); /* a token may be among them */
    }
    if (request->environment != NULL) {
        free((void *)environment);
    }
    free((void *)arguments);
    return code;
}

static int program_start(struct child *child, const struct child_request *request)
{
    int output[2];
    int complaint[2];
    if (pipe2(output, O_CLOEXEC) != 0) {
        return errno;
    }
    child->output.descriptor = output[0];
    AUTO(descriptor) int output_end = output[1];
    if (pipe2(complaint, O_CLOEXEC) != 0) {
        return errno;
    }
    child->complaint.descriptor = complaint[0];
    AUTO(descriptor) int complaint_end = complaint[1];
    if (fcntl(output[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(complaint[0], F_SETFL, O_NONBLOCK) != 0) {
        return errno;
    }
    return program_spawn(request, output_end, complaint_end, &child->pid);
}

struct child *child_start(struct loop *loop, const struct child_request *request,
                          void (*on_end)(void *context, const struct child_end *end), void *context)
{
    struct child *child = memory_zeroed(1, sizeof(*child));
    child->loop = loop;
    child->output.descriptor = -1;
    child->complaint.descriptor = -1;
    buffer_init(&child->output.content, request->output_maximum_bytes);
    buffer_init(&child->complaint.content, COMPLAINT_MAXIMUM_BYTES);
    child->timeout_ms = request->timeout_ms;
    child->deadline_ms = clock_monotonic_ms() + request->timeout_ms;
    child->on_end = on_end;
    child->context = context;
    child->start_code = program_start(child, request);
    if (child->start_code != 0) {
        child->pid = 0;
        child->timer = loop_after(loop, 0, child_unstarted, child);
        return child;
    }
    loop_watch(loop, child->output.descriptor, output_readable, child);
    loop_watch(loop, child->complaint.descriptor, complaint_readable, child);
    child->timer = loop_after(loop, LOOK_INTERVAL_MS, child_look, child);
    return child;
}

void child_cancel(struct child *child)
{
    if (child != NULL) {
        child_free(child);
    }
}
