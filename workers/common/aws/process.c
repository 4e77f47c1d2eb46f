#include "workers/common/aws/process.h"

#include "workers/common/aws/key_document.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Its end is looked for by waitpid, as a pidfd is not to be had everywhere, and its outputs may outlive it. */
enum { LOOK_INTERVAL_MS = 20 };

enum { OUTPUT_MAXIMUM_BYTES = 64 * 1024, COMPLAINT_MAXIMUM_BYTES = 200, BLOCK_BYTES = 4096, BLOCKS_AT_ONCE = 32 };

/* One of the command's two outputs. */
struct outlet {
    int descriptor; /* -1: closed */
    struct buffer content;
};

struct process_call {
    struct loop *loop;
    char *origin;
    pid_t pid; /* 0: not running */
    struct outlet output;
    struct outlet complaint;
    struct loop_timer *timer;
    struct error err; /* of a command that cannot be started */
    int64_t timeout_ms;
    int64_t deadline_ms;
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err);
    void *context;
};

static void outlet_close(struct process_call *call, struct outlet *outlet)
{
    if (outlet->descriptor >= 0) {
        loop_unwatch(call->loop, outlet->descriptor);
        close(outlet->descriptor);
        outlet->descriptor = -1;
    }
}

static void outlet_done(struct process_call *call, struct outlet *outlet)
{
    outlet_close(call, outlet);
    OPENSSL_cleanse(outlet->content.ptr, outlet->content.len);
    buffer_done(&outlet->content);
}

/* The shell's children are killed, too. A killed process ends at once, so the wait for it is none. */
static void process_kill(struct process_call *call)
{
    if (call->pid > 0) {
        (void)kill(-call->pid, SIGKILL);
        while (waitpid(call->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        call->pid = 0;
    }
}

static void call_free(struct process_call *call)
{
    process_kill(call);
    outlet_done(call, &call->output);
    outlet_done(call, &call->complaint);
    loop_timer_cancel(call->loop, call->timer);
    free(call->origin);
    free(call);
}

static void call_end(struct process_call *call, struct credentials *credentials, const struct error *err)
{
    struct error copy = *err;
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err) = call->on_done;
    void *context = call->context;
    if (credentials == NULL) {
        (void)error_prefix(&copy, "credential_process of %.80s", call->origin);
    }
    call_free(call);
    on_done(context, credentials, &copy);
}

/* Reads what is there: at most twice what a pipe holds, as an endless writer must not hold us. What is beyond the
 * maximum is dropped and noticed in the buffer. */
static void outlet_read(struct process_call *call, struct outlet *outlet)
{
    char block[BLOCK_BYTES];
    for (int i = 0; i < BLOCKS_AT_ONCE && outlet->descriptor >= 0; i++) {
        ssize_t count = read(outlet->descriptor, block, sizeof(block));
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (count <= 0) {
            outlet_close(call, outlet);
            break;
        }
        size_t room = outlet->content.maximum - outlet->content.len;
        size_t kept = (size_t)count < room ? (size_t)count : room;
        buffer_append(&outlet->content, slice_from(block, kept));
        buffer_append(&outlet->content, slice_from(block + kept, (size_t)count - kept));
    }
    OPENSSL_cleanse(block, sizeof(block));
}

/* The first of the command's complaints, as far as it is printable. */
static void complaint_append(struct process_call *call, struct error *err)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, COMPLAINT_MAXIMUM_BYTES);
    struct slice complaint = slice_trim(buffer_slice(&call->complaint.content));
    for (size_t i = 0; i < complaint.len; i++) {
        buffer_append_char(&text, isprint((unsigned char)complaint.ptr[i]) ? complaint.ptr[i] : ' ');
    }
    if (text.len > 0) {
        struct error before = *err;
        (void)error_set(err, before.action, "%.200s; it says: %s", before.text, text.ptr);
    }
}

static bool result_read(struct process_call *call, int status, struct credentials **ret_credentials, struct error *err)
{
    if (call->output.content.is_overflowed) {
        return error_set(err, ERROR_REJECT, "it prints more than %d bytes", OUTPUT_MAXIMUM_BYTES);
    }
    if (WIFSIGNALED(status)) {
        return error_set(err, ERROR_RETRY, "ended by signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) {
        /* It may be the network of the tool, so the next question is worth while. */
        return error_set(err, ERROR_RETRY, "exit status %d", WEXITSTATUS(status));
    }
    return key_document_read(buffer_slice(&call->output.content), KEY_GIVER_PROCESS, call->origin, ret_credentials,
                             err);
}

static void process_ended(struct process_call *call, int status)
{
    struct credentials *credentials = NULL;
    struct error err;
    call->pid = 0;
    outlet_read(call, &call->output);
    outlet_read(call, &call->complaint);
    if (!result_read(call, status, &credentials, &err)) {
        complaint_append(call, &err);
    }
    call_end(call, credentials, &err);
}

static void process_late(struct process_call *call)
{
    struct error err;
    (void)error_set(&err, ERROR_RETRY, "not finished after %lld ms", (long long)call->timeout_ms);
    complaint_append(call, &err);
    call_end(call, NULL, &err);
}

static void process_look(void *context)
{
    struct process_call *call = context;
    int status = 0;
    call->timer = NULL;
    if (waitpid(call->pid, &status, WNOHANG) == call->pid) {
        process_ended(call, status);
    } else if (clock_monotonic_ms() >= call->deadline_ms) {
        process_late(call);
    } else {
        call->timer = loop_after(call->loop, LOOK_INTERVAL_MS, process_look, call);
    }
}

static void output_readable(void *context)
{
    struct process_call *call = context;
    outlet_read(call, &call->output);
    if (call->output.content.is_overflowed) {
        struct error err;
        (void)error_set(&err, ERROR_REJECT, "it prints more than %d bytes", OUTPUT_MAXIMUM_BYTES);
        call_end(call, NULL, &err);
    }
}

static void complaint_readable(void *context)
{
    struct process_call *call = context;
    outlet_read(call, &call->complaint);
}

static void call_unstarted(void *context)
{
    struct process_call *call = context;
    call->timer = NULL;
    call_end(call, NULL, &call->err);
}

/* Signals as a new process expects them: the fleet blocks those that it reads from a descriptor. */
static int attributes_fill(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t ignored;
    sigemptyset(&none);
    sigemptyset(&ignored);
    sigaddset(&ignored, SIGPIPE);
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    int code = posix_spawnattr_setflags(attributes, flags);
    code = code != 0 ? code : posix_spawnattr_setpgroup(attributes, 0);
    code = code != 0 ? code : posix_spawnattr_setsigmask(attributes, &none);
    return code != 0 ? code : posix_spawnattr_setsigdefault(attributes, &ignored);
}

static int actions_fill(posix_spawn_file_actions_t *actions, int output, int complaint)
{
    int code = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    code = code != 0 ? code : posix_spawn_file_actions_adddup2(actions, complaint, STDERR_FILENO);
    return code != 0 ? code : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

static int shell_spawn(const char *command, int output, int complaint, pid_t *ret_pid)
{
    char *const arguments[] = {(char[]){"sh"}, (char[]){"-c"}, text_copy(command), NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0) {
        error_out_of_memory();
    }
    int code = attributes_fill(&attributes);
    code = code != 0 ? code : actions_fill(&actions, output, complaint);
    code = code != 0 ? code : posix_spawn(ret_pid, "/bin/sh", &actions, &attributes, arguments, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    free(arguments[2]);
    return code;
}

static int call_start(struct process_call *call, const char *command)
{
    int output[2];
    int complaint[2];
    if (pipe2(output, O_CLOEXEC) != 0) {
        return errno;
    }
    call->output.descriptor = output[0];
    AUTO(descriptor) int output_end = output[1];
    if (pipe2(complaint, O_CLOEXEC) != 0) {
        return errno;
    }
    call->complaint.descriptor = complaint[0];
    AUTO(descriptor) int complaint_end = complaint[1];
    if (fcntl(output[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(complaint[0], F_SETFL, O_NONBLOCK) != 0) {
        return errno;
    }
    return shell_spawn(command, output_end, complaint_end, &call->pid);
}

struct process_call *
process_ask(struct loop *loop, const char *command, const char *origin, int64_t timeout_ms,
            void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context)
{
    struct process_call *call = memory_zeroed(1, sizeof(*call));
    call->loop = loop;
    call->origin = text_copy(origin);
    call->output.descriptor = -1;
    call->complaint.descriptor = -1;
    buffer_init(&call->output.content, OUTPUT_MAXIMUM_BYTES);
    buffer_init(&call->complaint.content, COMPLAINT_MAXIMUM_BYTES);
    call->timeout_ms = timeout_ms;
    call->deadline_ms = clock_monotonic_ms() + timeout_ms;
    call->on_done = on_done;
    call->context = context;
    int code = call_start(call, command);
    if (code != 0) {
        call->pid = 0;
        (void)error_set(&call->err, ERROR_RETRY, "cannot be started: %s", strerror(code));
        call->timer = loop_after(loop, 0, call_unstarted, call);
        return call;
    }
    loop_watch(loop, call->output.descriptor, output_readable, call);
    loop_watch(loop, call->complaint.descriptor, complaint_readable, call);
    call->timer = loop_after(loop, LOOK_INTERVAL_MS, process_look, call);
    return call;
}

void process_cancel(struct process_call *call)
{
    if (call != NULL) {
        call_free(call);
    }
}
