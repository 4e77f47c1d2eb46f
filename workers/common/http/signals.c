#include "workers/common/http/signals.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
    struct loop *loop;
    int fd;
    void (*on_signal)(void *context, int signal);
    void *context;
};

static void signals_readable(void *context)
{
    struct signals *signals = context;
    struct signalfd_siginfo info;
    if (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        signals->on_signal(signals->context, (int)info.ssi_signo);
    }
}

struct signals *signals_watch(struct loop *loop, const int *wanted, void (*on_signal)(void *context, int signal),
                              void *context)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;
    (void)sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    for (; *wanted != 0; wanted++) {
        sigaddset(&set, *wanted);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct signals *signals = memory_zeroed(1, sizeof(*signals));
    *signals = (struct signals){loop, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), on_signal, context};
    loop_watch(loop, signals->fd, signals_readable, signals);
    return signals;
}

void signals_unwatch(struct signals *signals)
{
    if (signals != NULL) {
        loop_unwatch(signals->loop, signals->fd);
        close(signals->fd);
        free(signals);
    }
}
