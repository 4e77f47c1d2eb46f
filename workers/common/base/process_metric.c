#include "workers/common/base/process_metric.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    FILE_MAXIMUM_BYTES = 4096,
    /* Of /proc/self/stat, see proc(5); counted from the field behind the command's name, which is the third. */
    STAT_THIRD = 3,
    STAT_BEGAN = 22,
    STAT_RESIDENT = 24,
};

static void append(struct buffer *text, const char *name, const char *type, const char *help, double value)
{
    buffer_append_format(text, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

/* The name of the command may hold anything; behind its last bracket there are numbers only. */
static bool stat_field(const char *stat, int number, double *ret_value)
{
    const char *at = strrchr(stat, ')');
    for (int field = STAT_THIRD; at != NULL && field <= number; field++) {
        at = strchr(at + 1, ' ');
    }
    *ret_value = at != NULL ? strtod(at, NULL) : 0;
    return at != NULL;
}

static void append_from_stat(struct buffer *text)
{
    struct error err;
    AUTO(buffer) struct buffer stat;
    buffer_init(&stat, FILE_MAXIMUM_BYTES);
    double began_ticks;
    double resident_pages;
    if (!file_read("/proc/self/stat", &stat, &err) || !stat_field(stat.ptr, STAT_BEGAN, &began_ticks) ||
        !stat_field(stat.ptr, STAT_RESIDENT, &resident_pages)) {
        return;
    }
    /* Ticks since the machine's start, as clock_monotonic_ms counts. */
    double booted_s = (double)(clock_wall_ms() - clock_monotonic_ms()) / 1000;
    append(text, "process_resident_memory_bytes", "gauge", "Memory that is in RAM.",
           resident_pages * (double)sysconf(_SC_PAGESIZE));
    append(text, "process_start_time_seconds", "gauge", "When it began, since 1970.",
           booted_s + began_ticks / (double)sysconf(_SC_CLK_TCK));
}

static void append_descriptors(struct buffer *text)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    size_t count = 0;
    if (folder == NULL) {
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    closedir(folder);
    append(text, "process_open_fds", "gauge", "Open descriptors.", (double)count - 1); /* one is the folder */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        append(text, "process_max_fds", "gauge", "How many may be open.", (double)limit.rlim_cur);
    }
}

void process_metric_write(struct buffer *text)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        append(text, "process_cpu_seconds_total", "counter", "CPU time, in user and system mode.",
               (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    }
    append_from_stat(text);
    append_descriptors(text);
}
